"""Tiny datasets of tensorflow-datasets, as its files on disk."""

import os
import pathlib

VERSION = '1.2.3'


def write(root, name, features, examples):
    """Prepares a dataset without TensorFlow; returns its folder.

    Args:
      root: tfds's root folder.
      name: the dataset's.
      features: `(tfds.features) -> features by name`.
      examples: of the split train, images as PNG bytes; the first two are the split test too.
    """
    import tensorflow_datasets as tfds

    info = {'features': tfds.features.FeaturesDict(features(tfds.features))}
    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version(VERSION)

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, disable_shuffling=True, **info)

            def _split_generators(self, dl_manager):
                return {'train': iter(enumerate(examples)), 'test': iter(enumerate(examples[:2]))}

            def _generate_examples(self):
                raise NotImplementedError

    Builder.name = name
    builder = Builder(data_dir=os.fspath(root), file_format='array_record')
    builder.download_and_prepare(file_format='array_record')
    return pathlib.Path(builder.data_dir)
