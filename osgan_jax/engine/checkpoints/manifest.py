"""What a checkpoint says of itself: version, leaves with checksums, iterator states, metadata.

Stored as `{"body": {...}, "crc32": checksum of the body}`.
"""

import base64
import json
import zlib
from typing import Any

import jax

from osgan_jax.engine.checkpoints import errors, leaves
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
    # Whoever edits a manifest can make its checksum too.
    try:
        _check(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = errors.reason(error)
        raise errors.DamagedError(f'its manifest is none that a save writes: {why}') from error
    return body


def own_iterator_state(body: dict[str, Any]) -> bytes:
    """What this process saved; process 0's if another number of processes wrote the checkpoint."""
    states = body['iterator_states']
    same = len(states) == jax.process_count()
    return base64.b64decode(states[jax.process_index() if same else 0])


def _check(body: dict[str, Any]) -> None:
    """Raises whatever it stumbles on at anything that `build` does not make."""
    if type(body['step']) is not int or not isinstance(body['metadata'], dict):
        raise ValueError('its step or its metadata is of another type')
    if not body['iterator_states']:
        raise ValueError('it has no state of the data iterator')
    for own in body['iterator_states']:
        base64.b64decode(own, validate=True)
    for name, leaf in body['leaves'].items():
        leaves.check_described(name, leaf)


def _crc(body: Any) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())
