r"""Distils a teacher into a smaller student, with data or without: the paper's Section 4.4.

    python -m experiments.distill --algorithm=one_stage --teacher=runs/teacher \
        --num_steps=2000 --workdir=runs/student

trains a LeNet-5 of half the width to imitate runs/teacher (see experiments.teacher), without any of
its data. --algorithm is

    one_stage  one pass per round updates student and generator together; no data
    dfad       five steps of the student, then one of the generator; no data
    zskt       one step of the generator, then ten of the student on its images; no data
    kd         on the teacher's training images, with their labels

each with its published recipe unless flags say otherwise. --algorithm=one_stage
--disagreement=kl is one-stage training on the KL divergence. The paper's student is
--student=resnet18 under a resnet34. With --dataset=none no accuracy is measured, and no data is
needed at all.

Writes to the workdir: config.json, metrics.jsonl, timing.jsonl, tensorboard/, curves.png,
samples/*.png (the generator's images), checkpoints/, and evaluations.jsonl and evaluations.png (the
accuracy on the test split every --eval_every rounds, with seconds and FLOPs so far). Running the
same command again resumes; Ctrl-C saves first. A student's workdir may be another's --teacher.
"""

import sys

from experiments import cli
from osgan_jax.distillation.config import DistillConfig


@cli.command(cli.Workdir, DistillConfig, cli.Processes)
def main(where: cli.Workdir, config: DistillConfig, peers: cli.Processes) -> None:
    """Distils a teacher."""
    from osgan_jax import distillation
    from osgan_jax.engine import messages

    peers.join()
    distillation.distill(config, where.workdir)
    messages.say(f'Done: accuracies, samples and checkpoints are in {where.workdir}.')


if __name__ == '__main__':
    sys.exit(main())
