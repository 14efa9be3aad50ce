"""What a person sees of a run: summary, progress, metrics log, images, curves, TensorBoard.

Matplotlib, Pillow, tensorboardX and rich are imported where they are first used.
"""

from osgan_jax.reporting import figures, summary, thinning, timing
from osgan_jax.reporting.curves import save_curves
from osgan_jax.reporting.images import grid, save_png, to_uint8, visible_scale
from osgan_jax.reporting.metrics_log import MetricsLog
from osgan_jax.reporting.progress import Progress
from osgan_jax.reporting.tensorboard import TensorBoard

__all__ = [
    'MetricsLog',
    'Progress',
    'TensorBoard',
    'figures',
    'grid',
    'save_curves',
    'save_png',
    'summary',
    'thinning',
    'timing',
    'to_uint8',
    'visible_scale',
]
