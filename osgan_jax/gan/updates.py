"""One optimiser step of each scheme, as a pure function of a TrainState and a batch.

`schemes` says what is differentiated, `applied` how the networks are applied to a device's part of
the batch and how their optimisers step, `penalties` what their objectives have added.
"""

from osgan_jax.core.collectives import ONE_DEVICE, Collectives
from osgan_jax.gan import model, schemes
from osgan_jax.gan.model import GAN, TrainState
from osgan_jax.gan.step_context import Applied, Batch, Inputs, Metrics, Terms, Update, is_together

__all__ = ['Batch', 'Inputs', 'Metrics', 'Terms', 'Update', 'make_update']


def make_update(
    gan: GAN,
    scheme: str,
    state: TrainState,
    collectives: Collectives = ONE_DEVICE,
    *,
    accumulate: int = 1,
    terms: Terms | None = None,
) -> Update:
    """The update of one scheme, ready for `parallel.compile_update`.

    Args:
      gan: what is trained.
      scheme: 'one_stage', 'two_stage' or 'shared_forward'; or, to measure against,
        'two_stage_eager': two_stage that also computes D's weight gradients in stage 2, as a
        framework without a compiler does, and reads them (their squared norm is the metric
        `unused`).
      state: any state of it, looked at to find whether D treats samples one by one.
      collectives: of the devices it will be mapped over.
      accumulate: parts that each device takes its batch in, one after the other; gradients are
        averaged before the optimisers step. For networks without BatchNorm the update is that of
        the whole batch; BatchNorm normalises by the statistics of a part.
      terms: what is added to both objectives, over what the networks' own logits give.

    Returns:
      `(state, batch, constants=None) -> (state, metrics)`. `batch` holds this device's `image`
      `[n, H, W, C]` in [-1, 1] and `label` `[n]`; n fake images are made for n real ones.
      `constants` are what terms read, such as the parameters of a teacher. `metrics` are float32
      scalars, the same on all devices: loss_d, loss_g, logit_real, logit_fake, and under one_stage
      gamma (mean over samples whose carrier is above its floor) and floored (share of the others);
      with penalties their newest values.

    Raises:
      ValueError: for an unknown scheme; for one_stage with an asymmetric loss and a D that mixes
        samples, saying why and what to choose; for accumulation with a loss that is no mean over
        samples (fisher).
    """
    if accumulate > 1 and not gan.loss.mean_over_samples:
        raise ValueError(
            f'accumulate={accumulate}: the {gan.loss.name} loss constrains the whole batch at '
            'once and is no mean over its parts; use --accumulate=1 or another loss'
        )
    if scheme not in schemes.STEPS:
        raise ValueError(f'unknown scheme {scheme!r}: expected one of {", ".join(schemes.STEPS)}')
    if scheme == 'one_stage' and not gan.loss.symmetric:
        model.check_samplewise(gan, state)
    step = schemes.STEPS[scheme]
    together = is_together(gan, scheme, state)

    def update(state: TrainState, batch: Batch, constants=None) -> tuple[TrainState, Metrics]:
        net = Applied(gan, collectives, together, accumulate, terms, constants)
        return step(net, state, batch)

    return update
