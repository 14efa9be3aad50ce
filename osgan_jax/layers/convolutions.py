"""Strided and transposed convolutions with explicit adjoints.

Data contract: images are `[N, H, W, C]`, kernels `[kh, kw, large, small]`, where `large` is the
channels of the side with the larger grid and `small` those of the side with the smaller one. For
a convolution that is the usual HWIO; for a transposed convolution it is HWOI, the kernel of the
convolution of which it is the adjoint (the convention of PyTorch, and of
`jax.lax.conv_transpose(..., transpose_kernel=True)`).

A strided convolution is bilinear in image and kernel, so three functions are closed under
differentiation: `down(x, k)`, its adjoint in the image `up(y, k)`, and its adjoint in the kernel
`correlate(x, y)`. The derivatives of each are the two others, so that all orders of derivatives
exist. The rules are written out for the kernel gradient of a transposed convolution, which they
compute as that of a strided one. On CPUs the automatically derived one is an order of magnitude
slower; on TPUs it needs reversed copies of the images, a twelfth of the cycles that the compiler
estimates for DCGAN-64's step.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import jax

from osgan_jax.layers import backend, plain, tpu
from osgan_jax.layers.cpu import formulations

IMPLEMENTATIONS = ('auto', 'plain', 'adjoint')

Padding = tuple[tuple[int, int], tuple[int, int]]

_implementation = 'auto'


def set_implementation(name: str) -> None:
    """Chooses how convolutions traced from now on are computed.

    Args:
      name: 'plain' (XLA's convolutions and JAX's own derivatives of them), 'adjoint' (the rules of
        this module, and on CPU its formulations), or 'auto': 'adjoint' on CPU, and on TPUs for
        transposed convolutions, with groups merged (`tpu`); 'plain' elsewhere, but for convolutions
        that are one matrix product.

    Raises:
      ValueError: if `name` is none of these.
    """
    global _implementation
    _check_implementation(name)
    _implementation = name


@contextlib.contextmanager
def implementation(name: str) -> Iterator[None]:
    """Chooses the implementation within a `with` block, see `set_implementation`.

    The choice is read while a function is traced: a function that is already compiled keeps the
    one it was compiled with.
    """
    previous = _implementation
    set_implementation(name)
    try:
        yield
    finally:
        set_implementation(previous)


def _check_implementation(name: str) -> None:
    if name not in IMPLEMENTATIONS:
        raise ValueError(
            f'unknown convolution implementation {name!r}: use one of {", ".join(IMPLEMENTATIONS)}'
        )


def _choose(name: str | None) -> str:
    """Resolves to 'plain' or 'adjoint', or of 'auto' to 'adjoint', 'tpu' or 'auto' by platform."""
    name = _implementation if name is None else name
    _check_implementation(name)
    return (
        {'cpu': 'adjoint', 'tpu': 'tpu'}.get(backend.platform(), name) if name == 'auto' else name
    )


def _here(on_cpu: Callable[..., jax.Array], elsewhere: Callable[..., jax.Array]):
    return on_cpu if backend.platform() == 'cpu' else elsewhere


def counts_groups() -> bool:
    """Whether XLA's FLOPs of grouped convolutions are those of their groups.

    It counts one group of a loop over them, and for TPUs also the zeros between merged ones.
    """
    return _choose(None) in ('plain', 'auto')


def resolve_padding(
    padding: str | int | Padding, kernel_size: tuple[int, int], stride: int
) -> Padding:
    """Turns a padding into zeros before and after each spatial axis.

    Args:
      padding: 'half' pads by `kernel - stride` in total, the odd one after, so that a grid of
        size H becomes `H // stride` (and the transposed convolution multiplies it by `stride`);
        'valid' pads by nothing; an integer pads by as much on every side; or the pairs themselves.
      kernel_size: Height and width of the kernel.
      stride: Stride, the same for both axes.

    Returns:
      `((top, bottom), (left, right))`.

    Raises:
      ValueError: for another string or a negative number.
    """
    if padding == 'valid':
        return ((0, 0), (0, 0))
    if padding == 'half':
        totals = [max(size - stride, 0) for size in kernel_size]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(f"unknown padding {padding!r}: use 'half', 'valid', an integer or pairs")
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    padding = tuple((int(low), int(high)) for low, high in padding)
    if any(amount < 0 for pair in padding for amount in pair):
        raise ValueError(f'expected padding of zero or more, got {padding}')
    return padding


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: str | int | Padding = 'half',
    groups: int = 1,
    implementation: str | None = None,
) -> jax.Array:
    """Strided convolution (cross-correlation, as usual in deep learning).

    Args:
      x: Images `[N, H, W, I]`.
      kernel: Kernel `[kh, kw, I / groups, O]`, of the dtype of `x`.
      stride: Stride, the same for both axes, 1 or more.
      padding: See `resolve_padding`.
      groups: Equal parts of both images' channels, in order, each of which is convolved by itself.
      implementation: 'plain', 'adjoint' or 'auto'; None takes the module's setting.

    Returns:
      `[N, H', W', O]` with `H' = (H + top + bottom - kh) // stride + 1`.

    Raises:
      ValueError: for shapes that do not fit each other.
    """
    _check(x, kernel, stride, axis=2, groups=groups)
    padding = resolve_padding(padding, kernel.shape[:2], stride)
    for axis, name in ((0, 'height'), (1, 'width')):
        if x.shape[1 + axis] + sum(padding[axis]) < kernel.shape[axis]:
            raise ValueError(
                f'the {name} of {x.shape} with padding {padding} is smaller than that '
                f'of the kernel {kernel.shape}'
            )
    choice = _choose(implementation)
    if groups > 1:
        if choice == 'adjoint':
            one = lambda x, kernel: _down(x, kernel, stride, padding)  # noqa: E731
            return formulations.one_by_one(one, x, kernel, groups)
        if choice == 'tpu':
            return tpu.grouped_down(x, kernel, stride, padding, groups)
        return plain.down(x, kernel, stride, padding, groups)
    if choice != 'plain' and x.shape[1:3] == kernel.shape[:2] and padding == ((0, 0), (0, 0)):
        return formulations.product_down_whole(x, kernel)
    if choice == 'adjoint':
        return _down(x, kernel, stride, padding)
    return plain.down(x, kernel, stride, padding)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: str | int | Padding = 'half',
    implementation: str | None = None,
) -> jax.Array:
    """Transposed convolution: the adjoint of `conv` in its image.

    Pixel `x[i]` is added, times `kernel[a]`, to the output's pixel `stride * i + a - top`.

    Args:
      x: Images `[N, H, W, I]`.
      kernel: Kernel `[kh, kw, O, I]`, of the dtype of `x`.
      stride: Stride of the convolution of which this is the adjoint, 1 or more.
      padding: Padding of that convolution, see `resolve_padding`.
      implementation: 'plain', 'adjoint' or 'auto'; None takes the module's setting.

    Returns:
      `[N, H', W', O]` with `H' = stride * (H - 1) + kh - top - bottom`, the smallest grid which
      that convolution maps to `x`'s.

    Raises:
      ValueError: for shapes that do not fit each other.
    """
    _check(x, kernel, stride, axis=3)
    padding = resolve_padding(padding, kernel.shape[:2], stride)
    size = tuple(
        stride * (x.shape[1 + axis] - 1) + kernel.shape[axis] - sum(padding[axis])
        for axis in (0, 1)
    )
    if min(size) < 1:
        raise ValueError(
            f'padding {padding} leaves nothing of the transposed convolution of '
            f'{x.shape} with a kernel {kernel.shape}'
        )
    choice = _choose(implementation)
    if choice != 'plain' and x.shape[1:3] == (1, 1) and padding == ((0, 0), (0, 0)):
        return formulations.product_up_whole(x, kernel)
    if choice in ('adjoint', 'tpu'):
        return _up(x, kernel, stride, padding, size)
    return plain.up(x, kernel, stride, padding, size)


def _check(x, kernel, stride, axis, groups=1):
    if x.ndim != 4 or kernel.ndim != 4:
        raise ValueError(
            'expected images [N, H, W, C] and a kernel of four axes, got '
            f'{x.shape} and {kernel.shape}'
        )
    if groups < 1 or x.shape[3] % groups or kernel.shape[3] % groups:
        raise ValueError(
            f'{groups} groups do not divide the channels of images {x.shape} and of a kernel '
            f'{kernel.shape}'
        )
    if x.shape[3] != groups * kernel.shape[axis]:
        raise ValueError(
            f'images {x.shape} have {x.shape[3]} channels, but axis {axis} of the '
            f'kernel {kernel.shape} is {kernel.shape[axis]}'
            + (f', for {groups} groups' if groups > 1 else '')
        )
    if stride < 1:
        raise ValueError(f'expected a stride of 1 or more, got {stride}')


# Explicit formulations: three functions, each with the two others as its derivative.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _down(x, kernel, stride, padding):
    """`[N, H, W, large]`, `[kh, kw, large, small]` -> `[N, h, w, small]`."""
    return _here(formulations.cpu_down, plain.down)(x, kernel, stride, padding)


def _down_forward(x, kernel, stride, padding):
    return _down(x, kernel, stride, padding), (x, kernel)


def _down_backward(stride, padding, residuals, cotangent):
    x, kernel = residuals
    return (
        _up(cotangent, kernel, stride, padding, x.shape[1:3]),
        _correlate(x, cotangent, stride, padding, kernel.shape[:2]),
    )


_down.defvjp(_down_forward, _down_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _up(y, kernel, stride, padding, size):
    """`[N, h, w, small]`, `[kh, kw, large, small]` -> `[N, H, W, large]`."""
    return _here(formulations.cpu_up, plain.up)(y, kernel, stride, padding, size)


def _up_forward(y, kernel, stride, padding, size):
    return _up(y, kernel, stride, padding, size), (y, kernel)


def _up_backward(stride, padding, size, residuals, cotangent):
    del size
    y, kernel = residuals
    # Rows of the larger grid that no window reaches fall away here as they do going down.
    return (
        _down(cotangent, kernel, stride, padding),
        _correlate(cotangent, y, stride, padding, kernel.shape[:2]),
    )


_up.defvjp(_up_forward, _up_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _correlate(x, y, stride, padding, kernel_size):
    """`[N, H, W, large]`, `[N, h, w, small]` -> `[kh, kw, large, small]`."""
    return _here(formulations.cpu_correlate, plain.correlate)(x, y, stride, padding, kernel_size)


def _correlate_forward(x, y, stride, padding, kernel_size):
    return _correlate(x, y, stride, padding, kernel_size), (x, y)


def _correlate_backward(stride, padding, kernel_size, residuals, cotangent):
    del kernel_size
    x, y = residuals
    return (
        _up(y, cotangent, stride, padding, x.shape[1:3]),
        _down(x, cotangent, stride, padding),
    )


_correlate.defvjp(_correlate_forward, _correlate_backward)
