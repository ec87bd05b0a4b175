/* Included before everything by a build in which the test is the CPU. */
int cpu_has(const char *feature); /* asked for by GF_CPU_HAS */
