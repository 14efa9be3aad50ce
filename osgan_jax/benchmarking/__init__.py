"""Step times of the schemes, measured side by side, and what they are to be compared with.

`torch_peer` needs PyTorch and is imported only where it is asked for.
"""

from osgan_jax.benchmarking import report
from osgan_jax.benchmarking.config import SCHEMES, BenchmarkConfig
from osgan_jax.benchmarking.loop import LoopTiming, measure_loop
from osgan_jax.benchmarking.peak import measure_peak
from osgan_jax.benchmarking.pipeline import PipelineTiming, measure_pipeline, open_dataset
from osgan_jax.benchmarking.rounds import RoundCase, check_rounds, measure_rounds
from osgan_jax.benchmarking.steps import check, measure_steps
from osgan_jax.benchmarking.turns import StepTiming

__all__ = [
    'SCHEMES',
    'BenchmarkConfig',
    'LoopTiming',
    'PipelineTiming',
    'RoundCase',
    'StepTiming',
    'check',
    'check_rounds',
    'measure_loop',
    'measure_peak',
    'measure_pipeline',
    'measure_rounds',
    'measure_steps',
    'open_dataset',
    'report',
]
