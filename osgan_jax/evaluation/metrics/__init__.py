"""How far generated images are from real ones: functions of features, and the registry of them.

Features come from an `Extractor` of `osgan_jax.evaluation.features`: the FID Inception network with
weights from a file, or a classifier trained on the dataset itself, whose distances are never called
FID.
"""
