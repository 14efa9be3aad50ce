r"""Trains a classifier on data: a teacher for experiments.distill.

    python -m experiments.teacher --dataset=digits --num_steps=1500 --workdir=runs/teacher

trains LeNet-5 on 32-pixel digits in about a minute on two CPU cores. The paper's teacher is

    python -m experiments.teacher --network=resnet34 --dataset=cifar10 --workdir=runs/resnet34

(SGD at 0.1 with momentum 0.9 and weight decay 5e-4, 200 epochs of batches of 128, the rate times
0.1 at epochs 80 and 160, images shifted by up to 4 pixels and mirrored). Networks: resnet18,
resnet34, wrn16_1, wrn16_2, wrn40_1, wrn40_2, lenet5, lenet5_half.

Writes to the workdir: config.json, metrics.jsonl, timing.jsonl, tensorboard/, curves.png,
checkpoints/, and evaluations.jsonl and evaluations.png (the accuracy on the test split every
--eval_every steps). Running the same command again resumes; Ctrl-C saves first. Data in files:
--dataset=npz --data_dir=train.npz --test_data_dir=test.npz --test_split=train.
"""

import sys

from experiments import cli
from osgan_jax.distillation.config import TeacherConfig


@cli.command(cli.Workdir, TeacherConfig, cli.Processes)
def main(where: cli.Workdir, config: TeacherConfig, peers: cli.Processes) -> None:
    """Trains a teacher."""
    from osgan_jax import distillation
    from osgan_jax.engine import messages

    peers.join()
    distillation.train_teacher(config, where.workdir)
    messages.say(f'Done: accuracies, curves and checkpoints are in {where.workdir}.')


if __name__ == '__main__':
    sys.exit(main())
