"""A checkpoint's manifest: version, leaves with checksums, iterator states, metadata.

Stored as `{"body": {...}, "crc32": checksum of the body}`.
"""

import base64
import json
import zlib
from typing import Any

import jax

from osgan_jax.engine.checkpoints import errors
from osgan_jax.runtime import processes

FORMAT = 1
"""Version of the layout described in `manager`. A reader refuses a newer one."""


def build(
    step: int, described: dict[str, Any], iterator_state: bytes, metadata: dict[str, Any] | None
) -> dict[str, Any]:
    """Collects a manifest; called by all processes together.

    Args:
      step: number of finished updates.
      described: the entries of the leaves, see `leaves.to_host`.
      iterator_state: of this process.
      metadata: anything JSON can hold.

    Raises:
      TypeError: metadata that JSON cannot hold.
    """
    body = {
        'format': FORMAT,
        'step': int(step),
        'leaves': described,
        'iterator_states': [
            base64.b64encode(own).decode() for own in processes.gather(iterator_state)
        ],
        # As it will be read back: tuples become lists, keys become strings.
        'metadata': json.loads(json.dumps(metadata or {})),
    }
    return {'body': body, 'crc32': _crc(body)}


def verify(stored: Any) -> dict[str, Any]:
    """The body of a stored manifest.

    Raises:
      DamagedError: it is not what was written.
      CheckpointError: a newer version of this program wrote it.
    """
    try:
        body, crc = stored['body'], stored['crc32']
        version = int(body['format'])
        own_crc = _crc(body)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise errors.DamagedError('its manifest has no version') from error
    if own_crc != crc:
        raise errors.DamagedError('its manifest does not match its checksum')
    if version > FORMAT:
        raise errors.CheckpointError(
            f'has format {version} and this version of osgan_jax reads up to {FORMAT}; upgrade '
            'osgan_jax'
        )
    for name in body['leaves']:
        # Names become paths within the checkpoint.
        if name.startswith('/') or '\0' in name or '..' in name.split('/'):
            raise errors.DamagedError(f'{name[:100]!a} is not a name of a leaf')
    return body


def own_iterator_state(body: dict[str, Any]) -> bytes:
    """This process's iterator state; process 0's if another number of processes wrote it."""
    states = body['iterator_states']
    same = len(states) == jax.process_count()
    return base64.b64decode(states[jax.process_index() if same else 0])


def _crc(body: Any) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())
