"""The files of experiments.sample: sheets and sets of images."""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from osgan_jax import reporting
from osgan_jax.editing import video
from osgan_jax.engine import messages, resuming
from osgan_jax.gan import drawing, model, sampling
from osgan_jax.io import atomic
from osgan_jax.reporting.image_sets import ImageSet
from osgan_jax.runtime.stopping import Signals, Stopped

_GRID, _INTERPOLATIONS, _VIDEO = 'grid.png', 'interpolations.png', 'video'
# What the newest call drew, so that its sheets replace all of an earlier call's.
_RECORD = 'sheets.json'
_SHEETS = {_GRID, _INTERPOLATIONS, *(_VIDEO + suffix for suffix in video.SUFFIXES)}
_LATENTS = 8  # that a video leads through where no seeds are given
_LONGEST = 60  # characters of seeds in a name


class SampleFiles:
    """Draws what a `SampleConfig` asks for, and writes it."""

    def __init__(self, asked: Any, sampler: sampling.Sampler, out: pathlib.Path, signals: Signals):
        """Takes the configuration, the generator, the folder to write to, and what stops it.

        Raises:
          ValueError: for classes that there are not.
        """
        self._asked, self._sampler, self._out, self._signals = asked, sampler, out, signals
        self._seeds = asked.seed_list()
        self._classes = sampler.classes(asked.label)
        self._scale = reporting.visible_scale(min(sampler.gan.image_shape[:2]))

    def sheets(self) -> list[str]:
        """Draws the sheets, and removes those of an earlier call.

        Returns:
          The names of the files.

        Raises:
          Stopped: a signal came.
        """
        asked = self._asked
        sheets = {
            self._grid: asked.grid,
            self._interpolations: asked.interpolate,
            self._video: asked.video,
        }
        written = [draw() for draw in self._until_stopped(sheets) if sheets[draw]]
        if written:
            self._replace(written)
        return written

    def image_set(self) -> list[str]:
        """Draws the set of separate images, or goes on with it.

        Returns:
          What it is, in words; nothing if none is asked for.

        Raises:
          Stopped: a signal came.
          ValueError: other images have its name.
        """
        asked, sampler = self._asked, self._sampler
        count = len(self._seeds) or asked.count
        if not count:
            return []
        counts = self._class_counts()
        drawn = self._drawing(count, label_policy=asked.label_policy, class_counts=counts)
        seeds = ','.join(asked.seeds)
        prefix, last = ('seed', max(self._seeds)) if self._seeds else ('image', count - 1)
        digits = max(5, len(str(last)))
        files = ImageSet(
            self._out,
            self._set_name(count, seeds),
            asked.format,
            shape=(count, *sampler.gan.image_shape),
            file_name=lambda i: f'{prefix}_{self._seeds[i] if self._seeds else i:0{digits}d}.png',
            labels=drawn.labels,
            about={
                'step': sampler.step,
                'generator': model.digest(sampler.variables),
                'seeds' if seeds else 'seed': seeds or asked.seed,
                'labels': [*self._classes],
                'label_policy': asked.label_policy,
                'class_counts': [*map(int, counts)],
                'truncation': asked.truncation,
            },
        )
        done = files.begin()
        what = f'{count:,} images in {files.path.name}'
        if files.path.exists():
            print(f'{self._out} already holds these {what}.', flush=True)
            return []
        done -= done % drawn.rows
        if done:
            print(f'Continuing after {done:,} images.', flush=True)
        progress = messages.Countdown('Drawing {} images')
        progress(0, count)
        for images in drawn.batches(done):
            files.put(done, images)
            done += len(images)
            progress(done, count)
            if self._signals.received and done < count:
                raise Stopped(
                    f'Stopped after {done:,} of {count:,} images. Run the same command again to '
                    'go on.',
                    self._signals.received,
                )
        files.finish()
        return [what]

    def _drawing(self, count: int, **options: Any) -> drawing.Drawing:
        asked = self._asked
        options['policy'] = options.pop('label_policy', 'turn')
        return drawing.Drawing(
            self._sampler,
            count,
            asked.seed,
            seeds=self._seeds[:count],
            label=self._classes,
            truncation=asked.truncation,
            **options,
        )

    def _latents(self, count: int) -> jax.Array:
        """The latents of sheets: the first of the seeds that were given, or of the one seed."""
        if not self._seeds:
            return self._sampler.latents(count, self._asked.seed)
        if len(self._seeds) < count:
            raise ValueError(
                f'{count} latents are needed, and there are {len(self._seeds)} --seeds: give more'
            )
        return self._sampler.seeded_latents(self._seeds[:count])

    def _grid(self) -> str:
        count, columns = self._asked.grid, None
        if self._seeds:
            count = min(count, len(self._seeds))
        else:
            # A single class has no columns.
            classes = len(self._classes) if len(self._asked.label) != 1 else 0
            count, columns = sampling.grid_shape(classes, count)
        images = np.concatenate([*self._until_stopped(self._drawing(count).batches())])
        self._save(_GRID, images, columns)
        return _GRID

    def _interpolations(self) -> str:
        asked = self._asked
        path = sampling.interpolate(self._latents(2 * asked.interpolate), asked.steps)
        # One label a row: classes are not points on a line.
        labels = self._sampler.labels(asked.interpolate, self._classes)
        labels = None if labels is None else jnp.repeat(labels, asked.steps)
        images = self._sampler.images(path, labels, None, asked.truncation)
        self._save(_INTERPOLATIONS, images, asked.steps)
        return _INTERPOLATIONS

    def _video(self) -> str:
        asked, sampler = self._asked, self._sampler
        if asked.loop == 'classes':
            if not self._classes:
                raise ValueError('--loop=classes: this run was not trained with labels')
            z = self._latents(1)[0]
            images = video.through_classes(
                sampler, z, self._classes, asked.frames, asked.truncation
            )
        else:
            z = self._latents(len(self._seeds) or _LATENTS)
            label = self._classes[0] if self._classes else None
            images = video.through_latents(sampler, z, label, asked.frames, asked.truncation)
        scale = video.scale(sampler.gan.image_shape)
        images = self._until_stopped(images)
        frames = (image.repeat(scale, 0).repeat(scale, 1) for image in images)
        path = video.save(self._out, _VIDEO, frames, fps=asked.fps)
        if path.suffix != video.SUFFIXES[0]:
            print('The program ffmpeg is not installed: the video is an animated WebP.', flush=True)
        return path.name

    def _until_stopped(self, parts: Iterable[Any]) -> Iterator[Any]:
        """Yields parts of the sheets until a signal comes."""
        for part in parts:
            if self._signals.received:
                raise Stopped(
                    'Stopped before the sheets were drawn. Run the same command again to draw '
                    'them.',
                    self._signals.received,
                )
            yield part

    def _save(self, name: str, images: np.ndarray, columns: int | None) -> None:
        image = reporting.grid(images, columns=columns, scale=self._scale)
        reporting.save_png(self._out / name, image)

    def _replace(self, written: list[str]) -> None:
        """Removes an earlier call's sheets of other images, and records those that are there."""
        path = self._out / _RECORD
        asked = self._asked
        body = {
            'step': self._sampler.step,
            'generator': model.digest(self._sampler.variables),
            'seeds': [*asked.seeds] or asked.seed,
            'labels': [*self._classes],
            'truncation': asked.truncation,
        }
        try:
            found = json.loads(path.read_bytes())
            before = set(found.pop('sheets')) & _SHEETS - set(written)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            found, before = None, set()
        before = sorted(name for name in before if (self._out / name).exists())
        if found != body:
            for name in before:
                (self._out / name).unlink()
            if before:
                print(f'Removed {", ".join(before)}, of an earlier call for others.', flush=True)
            before = []
        with atomic.replacing(path) as file:
            file.write((json.dumps({'sheets': [*before, *written], **body}) + '\n').encode())

    def _set_name(self, count: int, seeds: str) -> str:
        """The name of a set, other for other images."""
        asked = self._asked
        if len(seeds) > _LONGEST:
            seeds = f'{hashlib.sha256(seeds.encode()).hexdigest()[:12]}'
        parts = [f'step_{self._sampler.step}']
        parts.append(f'seeds_{seeds}' if seeds else f'seed_{asked.seed}')
        if asked.label:
            parts.append(f'label_{",".join(map(str, self._classes))}'[:_LONGEST])
        if asked.label_policy != 'turn' and self._classes:
            parts.append(f'labels_{asked.label_policy}')
        if asked.truncation is not None:
            parts.append(f'truncation_{asked.truncation:g}')
        return '-'.join([*parts, f'{count}_images'])

    def _class_counts(self) -> tuple[int, ...]:
        """The dataset's images of each class, where labels follow them; otherwise none."""
        if self._asked.label_policy != 'data' or not self._classes:
            return ()
        from osgan_jax.gan import trainer  # a second of imports, for these images alone

        run = self._sampler.run
        dataset = resuming.reopen(
            run,
            self._asked.source,
            lambda: messages.read_dataset(
                run.config.dataset, lambda: trainer.open_dataset(run.config)
            ),
            'its labels cannot follow the data; take --label_policy=uniform',
        )
        return tuple(dataset.class_counts())
