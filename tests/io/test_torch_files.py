"""Reading strangers' .pth files: what is in them, that nothing is executed, what is refused.

Pickles are put together by hand, after what `pickletools` shows of those of PyTorch 2.13.
"""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from osgan_jax.io import weights
from tests.support import untrusted


def text(value):
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def integer(value):
    content = value.to_bytes(max(1, value.bit_length() // 8 + 1), 'little', signed=True)
    return b'\x8a' + bytes([len(content)]) + content


def lookup(module, name):
    return f'c{module}\n{name}\n'.encode()


def numbers(values):
    return b'(' + b''.join(map(integer, values)) + b't'


def storage_id(key, count, kind='FloatStorage', more=b''):
    content = text('storage') + lookup('torch', kind) + text(key) + text('cpu') + integer(count)
    return b'(' + content + more + b'tQ'


ORDERED = lookup('collections', 'OrderedDict') + b')R'


def tensor(storage, shape, strides, offset=0):
    arguments = storage + integer(offset) + numbers(shape) + numbers(strides) + b'\x89' + ORDERED
    return lookup('torch._utils', '_rebuild_tensor_v2') + b'(' + arguments + b'tR'


def named(**values):
    content = b''.join(text(name) + value for name, value in values.items())
    return b'\x80\x02' + ORDERED + b'(' + content + b'u.'


FOUR = np.array([1, 2, 3, 4], '<f4')
SIXTEEN_BYTES = FOUR.tobytes()
GOOD_PICKLE = named(a=tensor(storage_id('0', 4), [2, 2], [2, 1]))


def write_archive(path, content, more=(), storage=SIXTEEN_BYTES, **arguments):
    members = [('weights/data.pkl', content), ('weights/data/0', storage)]
    untrusted.archive(path, [*members, *more], **arguments)


def opening(magic=0x1950A86A20F9469CFC6C, protocol=1001, little=b'\x88'):
    system = b'\x80\x02}' + text('little_endian') + little + b's.'
    return b''.join(b'\x80\x02' + integer(n) + b'.' for n in (magic, protocol)) + system


def write_stream(path, content, keys=('0',), storage=SIXTEEN_BYTES, count=4, **arguments):
    listed = b'\x80\x02](' + b''.join(map(text, keys)) + b'e.'
    stored = struct.pack('<q', count) + storage
    path.write_bytes(opening(**arguments) + content + listed + stored)


WRITERS = pytest.mark.parametrize('write', [write_archive, write_stream])


@WRITERS
def test_torch_files_made_by_hand(tmp_path, write):
    path = tmp_path / 'weights.pth'
    write(path, GOOD_PICKLE)
    untrusted.equal(weights.read(path), {'a': FOUR.reshape(2, 2)})
    untrusted.hurt(path)
    # Views of one storage: transposed, a part of it, a diagonal, nothing.
    views = {
        'transposed': tensor(storage_id('0', 4), [2, 2], [1, 2]),
        'part': tensor(storage_id('0', 4), [2], [1], offset=2),
        'diagonal': tensor(storage_id('0', 4), [2], [3]),
        'number': tensor(storage_id('0', 4), [], [], offset=3),
        'nothing': tensor(storage_id('0', 4), [0, 5], [5, 1]),
    }
    write(path, named(**views))
    found = weights.read(path)
    square = FOUR.reshape(2, 2)
    untrusted.equal(
        found,
        {
            'transposed': square.T,
            'part': FOUR[2:],
            'diagonal': FOUR[[0, 3]],
            'number': FOUR[3],
            'nothing': np.zeros((0, 5), np.float32),
        },
    )
    assert np.shares_memory(found['transposed'], found['part'])
    assert not found['part'].flags.writeable


@WRITERS
def test_parameters_and_versions_of_modules(tmp_path, write):
    """As PyTorch pickles parameters, and the attribute `_metadata` of a state_dict."""
    path = tmp_path / 'weights.pt'
    inner = tensor(storage_id('0', 4), [4], [1])
    parameter = lookup('torch._utils', '_rebuild_parameter') + inner + b'\x88' + ORDERED + b'\x87R'
    metadata = b'}' + text('_metadata') + ORDERED + b'sb.'
    write(path, named(a=parameter)[:-1] + metadata)
    untrusted.equal(weights.read(path), {'a': FOUR})


@WRITERS
def test_of_a_checkpoint_the_tensors_of_its_network_are_taken(tmp_path, write):
    path = tmp_path / 'checkpoint.pth'
    network = named(a=tensor(storage_id('0', 4), [4], [1]))[2:-1]
    write(path, named(epoch=integer(3), net=network, optimizer=named(state=integer(1))[2:-1]))
    untrusted.equal(weights.read(path), {'a': FOUR})


@WRITERS
def test_nothing_pickled_is_executed(tmp_path, write):
    path, ran = tmp_path / 'weights.pth', tmp_path / 'ran'
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps(untrusted.Evil(ran), protocol)
        write(path, content)
        untrusted.refused(path, 'mkdir.*not executed|opcode')
        assert not ran.exists()
    pickle.loads(content)  # would have
    assert ran.exists()
    ran.rmdir()
    # Behind good tensors, and in what PyTorch hangs on them.
    call = lookup(os.mkdir.__module__, 'mkdir') + text(str(ran)) + b'\x85R'
    for bad in (
        named(a=tensor(storage_id('0', 4), [4], [1]), b=call),
        GOOD_PICKLE[:-1] + b'}' + text('_metadata') + call + b'sb.',
        named(a=tensor(storage_id('0', 4, more=call), [4], [1])),
        b'\x80\x02' + call + b'0' + GOOD_PICKLE[2:],
    ):
        write(path, bad)
        untrusted.refused(path, 'it asks for .*mkdir.*not executed|opcode POP')
        assert not ran.exists()


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('builtins', 'eval'),
        ('builtins', 'getattr'),
        ('collections', 'abc'),
        ('collections', 'OrderedDict.__init__'),
        ('torch', 'load'),
        ('torch', 'BoolStorage'),
        ('torch._utils', '_rebuild_tensor'),
        ('torch.storage', 'FloatStorage'),
        ('osgan_jax.io.weights', 'read'),
    ],
)
@WRITERS
def test_names_that_are_refused(tmp_path, write, module, name):
    path = tmp_path / 'weights.pth'
    write(path, named(a=lookup(module, name)))
    untrusted.refused(
        path, f"it asks for '{module}.{name}', which tensors of known types do not need"
    )


ONE = tensor(storage_id('0', 4), [4], [1])
REBUILD = lookup('torch._utils', '_rebuild_tensor_v2')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\x80\x02K\x01.', 'does not hold tensors by name'),
        (b'\x80\x02](' + ONE + b'e.', 'does not hold tensors by name'),
        (named(a=integer(3)), "holds 'a', which is not a tensor"),
        (named(epoch=integer(3), a=ONE), "holds 'epoch', which is not a tensor"),
        (
            named(net=named(a=ONE)[2:-1], ema=named(a=ONE)[2:-1]),
            "the tensors of several networks, 'net', 'ema': save those of one",
        ),
        (named(net=named(a=named(b=ONE)[2:-1])[2:-1]), "holds 'net', which is not a tensor"),
        (named(b=ONE, net=named(a=ONE)[2:-1]), "holds 'net', which is not a tensor"),
        (named(a=ORDERED), "holds 'a', which is not a tensor"),
        (b'\x80\x02}K\x01' + ONE + b's.', "holds '<int>', which is not a tensor"),
        (named(a=tensor(integer(0), [4], [1])), "'a' has no storage"),
        (named(a=tensor(lookup('torch', 'FloatStorage'), [4], [1])), "'a' has no storage"),
        (named(a=tensor(storage_id('0', 5), [5], [1])), 'needs 20 bytes and has 16|cut short'),
        (named(a=tensor(storage_id('0', 1 << 61), [4], [1])), 'needs|cut short'),
        (named(a=tensor(storage_id('0', 4, 'DoubleStorage'), [4], [1])), 'needs|cut short'),
        (named(a=tensor(storage_id('1', 4), [4], [1])), "'1' is missing|'0' belongs to no"),
        (named(a=tensor(storage_id('../0', 4), [4], [1])), 'is missing|belongs to no'),
        (named(a=tensor(storage_id('0', -4), [4], [1])), 'sizes that are not counts'),
        (named(a=tensor(storage_id('0', 4), [5], [1])), 'exceeds its storage of 4 numbers'),
        (named(a=tensor(storage_id('0', 4), [4], [1], 1)), 'exceeds its storage'),
        (named(a=tensor(storage_id('0', 4), [2, 2], [3, 1])), 'exceeds its storage'),
        (named(a=tensor(storage_id('0', 4), [1 << 40], [0])), 'exceeds its storage'),
        (named(a=tensor(storage_id('0', 4), [1 << 31] * 2, [0, 0])), 'exceeds its storage'),
        (named(a=tensor(storage_id('0', 4), [4], [-1], 3)), 'sizes that are not counts'),
        (named(a=tensor(storage_id('0', 4), [4], [1], -1)), 'sizes that are not counts'),
        (named(a=tensor(storage_id('0', 4), [4], [1, 1])), 'cannot read weights'),
        (named(a=tensor(storage_id('0', 4), [1] * 99, [1] * 99)), 'too many'),
        (named(a=text('storage') + b'Q'), 'an external object that is not a storage'),
        (named(a=b'(' + text('module') + b'NNNNtQ'), 'an external object that is not a storage'),
        (named(a=b'(' + text('storage') + b'NNNNtQ'), 'no type or no key'),
        # Nothing can be called but the stand-ins, and nothing hung on them.
        (named(a=lookup('torch', 'FloatStorage') + b')R'), 'not callable'),
        (named(a=REBUILD + b')R'), 'cannot read weights'),
        (named(a=REBUILD + b'}' + text('x') + b'K\x01sb'), 'cannot read weights'),
        (named(a=REBUILD + b'N}' + text('__class__') + b'Ns\x86b'), 'cannot read weights'),
        (named(a=lookup('collections', 'OrderedDict') + b'}b'), 'cannot read weights'),
        # Memory that a few bytes ask for.
        (b'\x80\x02}r' + struct.pack('<I', (1 << 31) - 1) + b'.', 'claims 2147483647 objects'),
        (b'\x80\x05\x96' + struct.pack('<Q', 1 << 40) + b'.', 'cannot read weights'),
        (b'\x80\x02X' + struct.pack('<I', (1 << 32) - 1) + b'a.', 'cannot read weights'),
        (b'\x80\x02}h\x07.', 'cannot read weights'),
    ],
)
@WRITERS
def test_torch_files_that_lie(tmp_path, write, content, message):
    path = tmp_path / 'weights.pth'
    write(path, content)
    untrusted.refused(path, message)


def test_stand_ins_are_left_as_they_were(tmp_path):
    path = tmp_path / 'weights.pth'
    write_archive(path, named(a=REBUILD + b'N}' + text('__defaults__') + b')s\x86b'))
    untrusted.refused(path, 'cannot read weights')
    write_archive(path, GOOD_PICKLE)
    untrusted.equal(weights.read(path), {'a': FOUR.reshape(2, 2)})


def test_torch_archives_that_lie(tmp_path):
    path = tmp_path / 'weights.pth'
    write_archive(path, GOOD_PICKLE, compression=zipfile.ZIP_DEFLATED)
    untrusted.refused(path, 'is compressed, which PyTorch does not do')
    write_archive(path, GOOD_PICKLE, more=[('other/data.pkl', GOOD_PICKLE)])
    untrusted.refused(path, 'PyTorch did not write it')
    np.savez(path.with_suffix('.npz'), a=FOUR)
    path.with_suffix('.npz').rename(path)
    untrusted.refused(path, 'PyTorch did not write it')
    write_archive(path, GOOD_PICKLE, storage=bytes(12))
    untrusted.refused(path, "storage '0' needs 16 bytes and has 12")
    write_archive(path, GOOD_PICKLE, more=[('weights/byteorder', b'big')])
    untrusted.refused(path, 'big-endian')
    write_archive(path, GOOD_PICKLE, more=[('weights/byteorder', b'little')])
    untrusted.equal(weights.read(path), {'a': FOUR.reshape(2, 2)})


def test_torch_streams_that_lie(tmp_path):
    path = tmp_path / 'weights.pth'
    for arguments, message in [
        ({'magic': 1}, 'PyTorch did not write it'),
        ({'protocol': 1000}, 'PyTorch did not write it'),
        ({'little': b'\x89'}, 'big-endian'),
        ({'keys': ()}, 'belong to no tensor'),
        ({'keys': ('0', '0')}, 'list of storages is damaged'),
        ({'count': 3}, 'has another size than its tensors say'),
        ({'storage': bytes(17)}, '1 bytes at its end belong to no tensor'),
        ({'storage': bytes(15)}, 'cut short'),
    ]:
        write_stream(path, GOOD_PICKLE, **arguments)
        untrusted.refused(path, message)
    part = text('view') + b'K\x00K\x01\x87'
    write_stream(path, named(a=tensor(storage_id('0', 4, more=part), [4], [1])))
    untrusted.refused(path, 'is not a storage')
    write_stream(path, named(a=tensor(storage_id('0', 4, more=b'N'), [4], [1])))
    untrusted.equal(weights.read(path), {'a': FOUR})


@pytest.mark.parametrize('is_archive', [True, False])
def test_files_of_torch_itself(tmp_path, is_archive):
    torch = pytest.importorskip('torch')
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    tensors = module.state_dict()
    whole = torch.randn(6, generator=generator)
    tensors['transposed'] = torch.randn(3, 5, generator=generator).t()
    tensors['parameter'] = torch.nn.Parameter(whole[:2])
    tensors['part'] = whole[3:]
    tensors['bfloat16'] = torch.randn(4, generator=generator).bfloat16()
    tensors['empty'] = torch.zeros(0, 3)
    for index, kind in enumerate(('float64', 'float16', 'int32', 'uint8')):
        tensors[kind] = torch.tensor([index, 5], dtype=getattr(torch, kind))
    path = tmp_path / 'weights.pth'
    torch.save(tensors, path, _use_new_zipfile_serialization=is_archive)
    as_float = {'bfloat16': torch.float32}
    expected = {
        name: value.detach().to(as_float.get(name, value.dtype)).numpy()
        for name, value in tensors.items()
    }
    untrusted.equal(weights.read(path), expected)
    assert expected['1.num_batches_tracked'].dtype == np.int64
    # A whole module would need its class.
    torch.save(module, path, _use_new_zipfile_serialization=is_archive)
    untrusted.refused(path, "asks for 'torch.nn.modules|opcode")


@WRITERS
def test_old_strings_are_refused_without_a_warning(tmp_path, write):
    path = tmp_path / 'weights.pth'
    write(path, b"S'\\{'\n.")  # an escape that is none
    untrusted.refused(path, 'opcode STRING')


@WRITERS
def test_random_opcodes(tmp_path, write):
    generator = np.random.default_rng(0)
    path = tmp_path / 'weights.pth'
    opcodes = np.frombuffer(b'\x80\x02}(cR)QX\x8aubNt]eKqhs.\x85\x86\x87\x88\x89', np.uint8)
    for _ in range(150):
        write(path, generator.choice(opcodes, 30).tobytes() + b'.')
        untrusted.refused(path, 'cannot read weights')
