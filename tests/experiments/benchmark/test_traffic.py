"""Bytes that a program moves, counted in its text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import traffic

# As XLA writes it for a TPU, shortened: what lies in memory space 1 is the chip's own.
PROGRAM = """\
HloModule jit_update, is_scheduled=true

%fused_computation (param_0: bf16[8,16], param_1: bf16[16,32]) -> bf16[8,32] {
  %param_0 = bf16[8,16]{1,0} parameter(0)
  %param_1 = bf16[16,32]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,32]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}
}

%region_0 (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

ENTRY %main.1 (x.1: bf16[8,16], w.1: f32[16,32]) -> (f32[16,32], bf16[8,32]) {
  %x.1 = bf16[8,16]{1,0:T(8,128)} parameter(0), metadata={op_name="batch"}
  %w.1 = f32[16,32]{1,0:T(8,128)} parameter(1), metadata={op_name="state.params_d"}
  %m.1 = f32[16,32]{1,0:T(8,128)} parameter(2), metadata={op_name="state.opt_d[0].mu"}
  %copy-start = (f32[16,32]{1,0:S(1)}, f32[16,32]{1,0}, u32[]{:S(2)}) copy-start(%w.1), \
backend_config={"estimated_cycles":"9223372036854775807"}
  %copy-done = f32[16,32]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %convert = bf16[16,32]{1,0:S(1)} convert(%copy-done), metadata={op_name="jit(update)/convert"}
  %fusion.1 = bf16[8,32]{1,0} fusion(%x.1, %convert), kind=kOutput, calls=%fused_computation
  %slice-start = ((f32[16,32]{1,0}), f32[4,32]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%m.1)
  %slice-done = f32[4,32]{1,0:S(1)} slice-done(%slice-start)
  %zero = f32[] constant(0)
  %sums = f32[8]{0} reduce(%fusion.1, %zero), dimensions={1}, to_apply=%region_0
  %all-reduce = f32[8]{0} all-reduce(%sums), to_apply=%region_0
  %updated = f32[16,32]{1,0} add(%w.1, %m.1), metadata={op_name="jit(update)/add"}, \
backend_config={"estimated_cycles":"700","iteration_bounds":["1"]}
  %set-aside = f32[9]{0} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %tuple = (f32[16,32]{1,0}, bf16[8,32]{1,0}) tuple(%updated, %fusion.1)
}
"""


def test_every_operation_is_counted_once_where_its_arrays_lie():
    found = {each.name: each for each in traffic.operations(PROGRAM)}
    # By hand: bfloat16 takes 2 bytes, float32 takes 4.
    x, product, weights, part, sums = 2 * 8 * 16, 2 * 8 * 32, 4 * 16 * 32, 4 * 4 * 32, 4 * 8
    assert {name: (each.read, each.written, each.near) for name, each in found.items()} == {
        'copy-start': (weights, 0, weights),
        'convert': (0, 0, weights + weights // 2),
        'fusion.1': (x, product, weights // 2),
        'slice-start': (part, 0, part),
        'sums': (product + 4, sums, 0),
        'all-reduce': (sums, sums, 0),
        'updated': (2 * weights, weights, 0),
    }
    assert {name: each.kind for name, each in found.items()} == {
        'copy-start': traffic.STATE,
        'convert': traffic.ELEMENTWISE,
        # A result of the program, as a kernel that is updated where its gradient is computed.
        'fusion.1': traffic.OPTIMISER_PRODUCTS,
        'slice-start': traffic.STATE,
        'sums': traffic.REDUCTIONS,
        'all-reduce': traffic.COLLECTIVES,
        'updated': traffic.OPTIMISERS,
    }
    assert {name: each.cycles for name, each in found.items() if each.cycles} == {'updated': 700}
    assert found['updated'].wide == 3 * weights
    assert found['fusion.1'].wide == 0


def test_kinds_add_up_and_are_shown():
    found = traffic.operations(PROGRAM)
    sums = traffic.by_kind(found)
    assert sum(size for _, size, *_ in sums.values()) == sum(each.bytes for each in found)
    lines = traffic.table(found, largest=1).splitlines()
    assert len(lines) == 1 + len(sums) + 2 + 1
    assert 'updated' in lines[-1]
    assert lines[len(sums) + 1].split()[:3] == ['in', 'all', '7']


def test_a_compiled_program_moves_what_its_arrays_need():
    @jax.jit
    def step(x, w):
        return jnp.tanh(x) @ w

    x, w = np.ones((64, 32), np.float32), np.ones((32, 128), np.float32)
    found = traffic.operations(step.lower(x, w).compile().as_text())
    # tanh(x) is written and read again, for a product on a CPU takes nothing in.
    expected = 4 * (3 * 64 * 32 + 32 * 128 + 64 * 128)
    assert sum(each.bytes for each in found) == pytest.approx(expected, rel=0.01)
    assert sum(each.near for each in found) == 0
