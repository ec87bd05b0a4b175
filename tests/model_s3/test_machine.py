"""Ten thousand random requests in many short runs, every answer that of the small S3."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model_s3.whole import Machine

STEPS, DEEP_STEPS, RUN_STEPS = 10_000, 200_000, 50


def test_every_answer_is_that_of_a_small_s3(deep: bool) -> None:
    Machine.counted = 0
    steps = DEEP_STEPS if deep else STEPS
    runs = steps // (4 * RUN_STEPS // 5)  # some runs end early
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=RUN_STEPS,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    assert Machine.counted >= steps
