/* The walk over a long input, the same for every kernel.
 *
 * Whoever includes this has defined, as XXH3_INLINE: `vector`, `load`, `store`, `step(lanes, word,
 * key)` and `scramble(lanes, key)` on vectors of WIDTH bytes. */
enum { VECTORS = XXH3_STEP / WIDTH, AHEAD = 512 };

XXH3_INLINE void step_all(vector *lanes, const uint8_t *data, const uint8_t *secret)
{
    for (int i = 0; i < VECTORS; i++)
        lanes[i] = step(lanes[i], load(data + i * WIDTH), load(secret + i * WIDTH));
}

/* Blocks with a scramble behind each; answers where they end. */
XXH3_INLINE const uint8_t *block_all(vector *lanes, const uint8_t *data, size_t count)
{
    for (; count; count--) {
        for (int n = 0; n < XXH3_STEPS; n++, data += XXH3_STEP) {
            __builtin_prefetch(data + AHEAD);
            step_all(lanes, data, xxh3_secret + 8 * n);
        }
        for (int i = 0; i < VECTORS; i++)
            lanes[i] = scramble(lanes[i], load(xxh3_secret + sizeof xxh3_secret - XXH3_STEP
                                               + i * WIDTH));
    }
    return data;
}

XXH3_TARGET(XXH3_FEATURES)
static void blocks(uint64_t *lanes, const uint8_t *data, size_t count)
{
    vector v[VECTORS];
    for (int i = 0; i < VECTORS; i++)
        v[i] = load((const uint8_t *)lanes + i * WIDTH);
    block_all(v, data, count);
    for (int i = 0; i < VECTORS; i++)
        store((uint8_t *)lanes + i * WIDTH, v[i]);
}

XXH3_TARGET(XXH3_FEATURES)
static void take(uint64_t *lanes, const uint8_t *data, size_t bytes)
{
    vector v[VECTORS];
    const uint8_t *last = data + bytes - XXH3_STEP; /* may overlap the steps before it */
    size_t steps = (bytes - 1) / XXH3_STEP;
    for (int i = 0; i < VECTORS; i++)
        v[i] = load((const uint8_t *)lanes + i * WIDTH);
    data = block_all(v, data, steps / XXH3_STEPS);
    for (size_t n = 0; n < steps % XXH3_STEPS; n++, data += XXH3_STEP)
        step_all(v, data, xxh3_secret + 8 * n);
    step_all(v, last, xxh3_secret + sizeof xxh3_secret - XXH3_STEP - 7);
    for (int i = 0; i < VECTORS; i++)
        store((uint8_t *)lanes + i * WIDTH, v[i]);
}
