r"""Trains a narrower GAN under a trained one's discriminator: DGL-GAN, in one stage or two.

    python -m experiments.compress --teacher=runs/stylegan2 --channel_multiplier=1/2 --weight=0.1 \
        --stage_one_kimg=64 --stage_two_kimg=64 --scheme=one_stage --workdir=runs/half

trains a generator of half the teacher's channels, first without the teacher (Stage I), then with
its frozen discriminator as a second judge of the student's images (Stage II). The teacher is a run
of experiments.train of any method, of experiments.convert, or itself a student; --objective is

    dgl             Adv(G, D) + weight * Adv(G, teacher's D): the paper's method
    baseline        Adv(G, D) alone, for the length of both stages
    single_fixed    Adv(G, teacher's D) alone, which stays frozen
    single_updated  Adv(G, teacher's D) alone, which continues to learn
    g_inter         G imitates the features of the teacher's G   (--imitated=8,16,out)
    d_inter         D imitates the features of the teacher's D
    d_out           D imitates the outputs of the teacher's D
    ggl             D is shown the images of the teacher's G as fakes
    gdgl            ggl and dgl together
    from_scratch    dgl without Stage I
    gradual         dgl under a teacher that is a student itself
    uncompressed    dgl with all of the teacher's channels

(d_inter compares features alone, without out.)

With --auto_stage_two Stage II begins once the student's D separates real from fake images as well
as the teacher's D; --stage_one_kimg is then the greatest length of Stage I. The workdir is that of
experiments.train, with the additional metrics stage, teacher_real, teacher_fake, margin and
teacher_margin; experiments.sample, evaluate and edit read it. Running the same command again
resumes; Ctrl-C saves first.

    python -m experiments.compress --report --report_network=stylegan2 --report_size=256

prints parameters, multiplications and measured times of generators by channel multiplier, beside
those of the paper's Tables 2 to 4. It needs no teacher and trains nothing.
"""

import dataclasses
import sys

from experiments import cli
from experiments.compress.published import STUDIED
from osgan_jax.compression.config import CompressConfig
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import field


@dataclasses.dataclass(frozen=True)
class ReportConfig(Config):
    """The report to print instead of training, and where a run would be."""

    workdir: str | None = field(
        None, 'directory of the run; created (required without --report)', path=True
    )
    report: bool = field(
        False, 'print sizes and times of generators instead of training', group='output'
    )
    report_network: str = field(
        'stylegan2',
        'network whose generators to report',
        group='output',
        choices=tuple(STUDIED),
    )
    report_size: int | None = field(
        None,
        'height and width of images, in pixels; by default 256 for stylegan2, 128 for biggan',
        group='output',
    )
    report_batch: int = field(1, 'images drawn at a time', group='output', at_least=1)
    report_repeats: int = field(5, 'timed draws; 0 for no times', group='output', at_least=0)
    report_out: str | None = field(
        None, 'JSON file for the report, besides printing it', group='output', path=True
    )


@cli.command(ReportConfig, CompressConfig, cli.Processes)
def main(asked: ReportConfig, config: CompressConfig, peers: cli.Processes) -> None:
    """Trains a student, or reports."""
    if asked.report:
        from experiments.compress import report

        report.run(
            asked.report_network,
            asked.report_size,
            batch_size=asked.report_batch,
            repeats=asked.report_repeats,
            out=asked.report_out,
        )
        return
    if asked.workdir is None:
        raise ValueError('give --workdir, the directory of the run (or --report)')
    from osgan_jax import compression
    from osgan_jax.engine import messages

    peers.join()
    compression.compress(config, asked.workdir)
    messages.say(f'Done: samples, curves and checkpoints are in {asked.workdir}.')


if __name__ == '__main__':
    sys.exit(main())
