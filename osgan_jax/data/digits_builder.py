"""`digits` as a builder of tensorflow-datasets; importing it registers the name."""

import tensorflow_datasets as tfds

from osgan_jax.data import digits, images


class Digits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits from scikit-learn; see `osgan_jax.data.digits`."""

    VERSION = tfds.core.Version(digits.VERSION)
    RELEASE_NOTES = {digits.VERSION: 'First version.'}  # noqa: RUF012 (tfds's own convention)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=digits.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    'image': tfds.features.Image(shape=(8, 8, 1), encoding_format='png'),
                    'label': tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=('image', 'label'),
            homepage='https://archive.ics.uci.edu/dataset/80',
            # scikit-learn's order, so that position i is the same digit with and without tfds.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in ('train', 'test')}

    def _generate_examples(self, split: str):
        for index, (image, label) in enumerate(zip(*digits.arrays(split), strict=True)):
            # tfds encodes arrays with TensorFlow, and takes bytes as they are.
            yield index, {'image': images.to_png(image), 'label': int(label)}
