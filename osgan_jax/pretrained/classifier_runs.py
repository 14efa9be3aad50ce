"""A classifier that PyTorch trained, as the directory of a teacher's run."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from osgan_jax.data import classes
from osgan_jax.distillation import learners, teachers
from osgan_jax.distillation.classifiers import Accuracy, Classifier
from osgan_jax.distillation.config import TeacherConfig, resolve_teacher
from osgan_jax.engine import runs
from osgan_jax.gan import model
from osgan_jax.io import messages, weights
from osgan_jax.networks import classifier_registry
from osgan_jax.pretrained import classifiers, writing
from osgan_jax.pretrained.standardisations import STANDARDISATIONS

_SIZE, _LARGE_SIZE = 32, 224  # pixels of images where nothing else is given


class Converted(NamedTuple):
    """A run of a published classifier.

    Attributes:
      run: as in config.json.
      state: as in the checkpoint.
    """

    run: runs.Run
    state: learners.State

    def classifier(self) -> Classifier:
        """The classifier, as `osgan_jax.distillation.load` reads it from the directory."""
        student = learners.student(self.run.config, self.run.num_classes, None)
        return Classifier(self.run, 0, student.module, self.state.student.variables)


def convert(
    path: str | os.PathLike[str],
    config: TeacherConfig,
    workdir: str | os.PathLike[str],
    *,
    standardisation: str | None = None,
    class_names: Sequence[str] = (),
) -> Converted:
    """Makes a teacher's run of published weights: config.json and a checkpoint of step 0.

    The network and the number of classes are found in the weights. The run cannot be trained on.

    Args:
      path: a file of weights, as `osgan_jax.pretrained.classifiers` describes them.
      config: dataset and image size, by default 32 pixels, or 224 for networks of large images;
        mean and std where no standardisation is named.
      workdir: the run's directory, made if it is not there.
      standardisation: how the network's images were standardised, a name of
        `standardisations.STANDARDISATIONS`.
      class_names: names of all classes in their order; none where they are not known.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file holds other weights; an unknown standardisation, or none; another number
        of class names; a directory that holds a run.
      osgan_jax.engine.checkpoints.CheckpointError: if saving is impossible, or another run holds
        the directory.
    """
    workdir = pathlib.Path(workdir)
    writing.check_free(workdir)
    given = config.mean, config.std
    if (standardisation is None) == (None in given) or (standardisation and any(given)):
        raise ValueError(
            'how the images of this classifier were standardised is not in its weights: give '
            f'--standardisation, one of {", ".join(STANDARDISATIONS)}, or --mean and --std'
        )
    if standardisation and standardisation not in STANDARDISATIONS:
        raise ValueError(
            f'standardisation={standardisation!r}: expected one of {", ".join(STANDARDISATIONS)}'
        )
    shown = messages.printable(path)
    tensors = weights.read(path)
    try:
        found = classifiers.find(tensors)
    except ValueError as error:
        raise ValueError(f'{shown}: {error}') from None
    names = tuple(class_names)
    if len(names) not in (0, found.num_classes) or len(set(names)) != len(names):
        raise ValueError(
            f'class_names: {len(set(names))} different names, but the classifier in {shown} has '
            f'{found.num_classes} classes'
        )
    large = classifier_registry.get(found.name).options.get('large', False)
    size = config.image_size or (_LARGE_SIZE if large else _SIZE)
    mean, std = STANDARDISATIONS[standardisation] if standardisation else given
    if len(mean) == len(std) == 1:
        mean, std = mean * found.channels, std * found.channels
    # Neither steps nor batches are those of its training, which nobody knows.
    fixed = {'network': found.name, 'num_steps': config.steps_per_call, 'batch_size': 2}
    config = resolve_teacher(
        dataclasses.replace(config, **fixed, mean=mean, std=std),
        image_size=size,
        channels=found.channels,
        num_examples=2,
        statistics=None,
    )
    run = runs.Run(config, found.num_classes, names, num_examples=0)
    fresh = learners.create(config, learners.student(config, found.num_classes, None), None)
    stats, params = model.split(found.variables)
    state = fresh.replace(student=fresh.student.replace(params=params, stats=stats))
    writing.write(workdir, run, state, [path])
    return Converted(run, state)


def accuracy(converted: Converted) -> tuple[float, int]:
    """The share of the dataset's test images that are classified correctly, and their number.

    Raises:
      ValueError: the dataset has other classes, images of another size, or no labels.
      FileNotFoundError: it is not there.
    """
    run = converted.run
    test = teachers.open_part(run.config, test=True)
    teachers.check_labelled(test)
    test = classes.align(test, run.class_names, 'the classifier')
    if test.num_classes != run.num_classes:
        raise ValueError(
            f'{teachers.describe(test)}, but the classifier has {run.num_classes} classes'
        )
    measure = Accuracy(converted.classifier().module, test, run.config)
    return measure(converted.state.student.variables), measure.count
