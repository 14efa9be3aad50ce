"""Tensors by name of a .pth or .pt file, without PyTorch and without executing what it pickled.

From version 1.6 on such a file is a zip archive: the pickled dictionary, in which tensors refer to
storages by key, and one member for each storage. Before, it was a stream: a magic number, the
version of the protocol, facts of the system, the dictionary and the list of keys, each pickled;
then every storage, as its count and its numbers.
"""

import io
import math
import pickle
import pickletools
import struct
import warnings
import zipfile
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from osgan_jax.io import checks, dtypes, messages
from osgan_jax.io.messages import quote

_TYPES = {
    'DoubleStorage': 'F64',
    'FloatStorage': 'F32',
    'HalfStorage': 'F16',
    'BFloat16Storage': 'BF16',
    'LongStorage': 'I64',
    'IntStorage': 'I32',
    'ByteStorage': 'U8',
}

_MAGIC = 0x1950A86A20F9469CFC6C  # opens the older kind of .pth
_PROTOCOL = 1001

# What a dictionary of tensors is pickled with. The others are ways to call, look up or allocate
# that it has no need of.
_OPCODES = frozenset(
    (
        *('PROTO', 'STOP', 'MARK', 'GLOBAL', 'REDUCE', 'BUILD', 'BINPERSID', 'NONE'),
        *('BINPUT', 'LONG_BINPUT', 'BINGET', 'LONG_BINGET', 'BINUNICODE', 'BINFLOAT'),
        *('BININT', 'BININT1', 'BININT2', 'LONG1', 'NEWTRUE', 'NEWFALSE'),
        *('EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'EMPTY_LIST', 'APPEND', 'APPENDS'),
        *('EMPTY_DICT', 'SETITEM', 'SETITEMS'),
    )
)


class _Storage(NamedTuple):
    """Numbers in a .pth file that tensors are views of."""

    kind: str
    key: str
    count: int


class _Tensor(NamedTuple):
    """A tensor in a .pth file, before its numbers are read."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class _Mapping(dict):
    """Takes the place of OrderedDict; forgets the versions of modules that PyTorch hangs on it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


# These are what a pickle may call. Without a __dict__, nothing can be hung on them for later.
class _RebuildTensor:
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        return _Tensor(storage, offset, shape, strides)


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor: Any, *_: Any) -> Any:
        return tensor


class _Unpickler(pickle.Unpickler):
    """Reads a pickled dictionary of tensors, and can make nothing else.

    All a pickle can do to its reader goes through the objects that it looks up by name. Here they
    are stand-ins, made in this file, which only hold what they are called with; PyTorch is not
    even imported. Any other name is refused before it is looked up.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return _Mapping
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return _RebuildTensor()
        if (module, name) == ('torch._utils', '_rebuild_parameter'):
            return _RebuildParameter()
        if module == 'torch' and name in _TYPES:
            return _Storage(_TYPES[name], '', 0)
        raise ValueError(
            f'it asks for {quote(f"{module}.{name}")}, which tensors of known types do not '
            'need; it was not executed'
        )

    def persistent_load(self, pid: Any) -> _Storage:
        # Older files say at the end which part of another storage it is: none.
        if isinstance(pid, tuple) and len(pid) == 6 and pid[5] is None:
            pid = pid[:5]
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != 'storage':
            raise ValueError('it refers to an external object that is not a storage')
        _, kind, key, _, count = pid
        if not isinstance(kind, _Storage) or type(key) is not str:
            raise ValueError('it describes a storage that has no type or no key')
        checks.sizes([count], quote(key))
        return _Storage(kind.kind, key, count)


def _unpickle(file: BinaryIO) -> Any:
    """Loads one pickle from where the file is, and leaves the file behind it."""
    start = file.tell()
    largest = 0
    with warnings.catch_warnings():
        # Strings of an old kind are decoded, with a warning of what they escape, before their
        # opcode is known.
        warnings.simplefilter('ignore', DeprecationWarning)
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name not in _OPCODES:
                raise ValueError(
                    f'its pickle has the opcode {opcode.name}, which tensors do not need'
                )
            if opcode.name == 'LONG_BINPUT':
                largest = max(largest, argument)
    length = file.tell() - start
    if largest > length:  # the unpickler takes memory for as many objects
        raise ValueError(f'its pickle claims {largest} objects in {length} bytes')
    file.seek(start)
    return _Unpickler(io.BytesIO(file.read(length))).load()


def read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """Reads a file of `size` bytes; see `osgan_jax.io.weights.read`, which words the errors."""
    is_archive = file.read(2) == b'PK'
    file.seek(0)
    return _read_archive(file, size) if is_archive else _read_stream(file, size)


def _read_archive(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = checks.members(archive, size)
        for member, info in members.items():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f'{quote(member)} is compressed, which PyTorch does not do')
        checks.expansion((info.file_size for info in members.values()), size)
        pickles = [member for member in members if member.split('/')[1:] == ['data.pkl']]
        if len(pickles) != 1:
            raise ValueError('it is a zip archive, but PyTorch did not write it')
        folder = pickles[0].split('/')[0]
        order = members.get(f'{folder}/byteorder')
        if order is not None and archive.read(order) != b'little':
            raise ValueError('its numbers are big-endian; save it again on another machine')
        tensors = _tensors(_unpickle(io.BytesIO(archive.read(pickles[0]))))

        def numbers(storage: _Storage) -> np.ndarray:
            info = members.get(f'{folder}/data/{storage.key}')
            if info is None:
                raise ValueError(f'its storage {quote(storage.key)} is missing')
            needed = storage.count * dtypes.DTYPES[storage.kind].itemsize
            if info.file_size != needed:
                raise ValueError(
                    f'its storage {quote(storage.key)} needs {needed} bytes and has '
                    f'{info.file_size}'
                )
            return dtypes.decode(archive.read(info), storage.kind)

        used = {tensor.storage for tensor in tensors.values()}
        found = {storage: numbers(storage) for storage in used}
    return {name: _view(found[tensor.storage], tensor, name) for name, tensor in tensors.items()}


def _read_stream(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if _unpickle(file) != _MAGIC or _unpickle(file) != _PROTOCOL:
        raise ValueError('PyTorch did not write it')
    system = _unpickle(file)
    if not isinstance(system, dict) or system.get('little_endian') is not True:
        raise ValueError('its numbers are big-endian; save it again on another machine')
    tensors = _tensors(_unpickle(file))
    used = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    found = {}
    keys = _unpickle(file)
    if not isinstance(keys, list) or set(map(type, keys)) - {str} or len(set(keys)) != len(keys):
        raise ValueError('its list of storages is damaged')
    for key in keys:
        if key not in used:
            raise ValueError(f'its storage {quote(key)} belongs to no tensor')
        needed = used[key].count * dtypes.DTYPES[used[key].kind].itemsize
        if file.tell() + 8 + needed > size:
            raise ValueError(f'it ends within its storage {quote(key)}: it was cut short')
        if struct.unpack('<q', file.read(8))[0] != used[key].count:
            raise ValueError(f'its storage {quote(key)} has another size than its tensors say')
        found[used[key]] = dtypes.decode(file.read(needed), used[key].kind)
    if file.tell() != size:
        raise ValueError(f'{size - file.tell()} bytes at its end belong to no tensor')
    for name, tensor in tensors.items():
        if tensor.storage not in found:
            raise ValueError(f'the numbers of {quote(name)} are missing')
    return {name: _view(found[tensor.storage], tensor, name) for name, tensor in tensors.items()}


def _tensors(found: Any) -> dict[str, _Tensor]:
    """Checks that a pickle held tensors by name; of a checkpoint, takes those of its one network.

    A checkpoint is a dictionary with the tensors of a network as one of its values, beside numbers
    of the training or an optimiser's state.
    """
    if not isinstance(found, dict):
        raise ValueError('it does not hold tensors by name')
    if not any(isinstance(each, _Tensor) for each in found.values()):
        within = {name: each for name, each in found.items() if _holds_tensors(each)}
        if len(within) > 1:
            names = messages.shorten([quote(name) for name in within])
            raise ValueError(
                f'it holds the tensors of several networks, {names}: save those of one by name'
            )
        if within:
            (found,) = within.values()
    for name, tensor in found.items():
        if type(name) is not str or not isinstance(tensor, _Tensor):
            raise ValueError(f'it holds {quote(name)}, which is not a tensor; save tensors by name')
        if not isinstance(tensor.storage, _Storage) or not tensor.storage.key:
            raise ValueError(f'its tensor {quote(name)} has no storage')
    return found


def _holds_tensors(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and bool(found)
        and all(type(n) is str and isinstance(each, _Tensor) for n, each in found.items())
    )


def _view(numbers: np.ndarray, tensor: _Tensor, name: str) -> np.ndarray:
    """Returns a tensor as a view of its storage `[count]`."""
    shown = quote(name)
    shape, strides = checks.sizes(tensor.shape, shown), checks.sizes(tensor.strides, shown)
    (offset,) = checks.sizes([tensor.offset], shown)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    # Strides of zero could make a large tensor out of one number.
    if math.prod(shape) > len(numbers) or (math.prod(shape) and last >= len(numbers)):
        raise ValueError(
            f'its tensor {shown} {list(shape)} exceeds its storage of {len(numbers)} numbers'
        )
    if not math.prod(shape):
        return np.empty(shape, numbers.dtype)
    strides = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False)
