"""Building blocks of the networks: convolutions with explicit adjoints, normalisation."""
