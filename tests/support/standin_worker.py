"""A suite's worker whose cases do what their names say; to be run with the store's directory."""

import os
import sys
import time

from experiments.benchmark.suite import plan, worker


class Bench:
    """Measures nothing; begins and ends of measurements go to a file that all workers share."""

    def __init__(self):
        self._log = os.path.join(sys.argv[1], 'turns.txt')
        if 'no start' in sys.argv:
            raise OSError('no accelerator to be found')

    def machine(self):
        return {'device': 'stand-in', 'platform': 'none', 'cores': 2}

    def prepare(self, case, save):
        self._note('prepare', case)
        if case.name == 'refuses':
            raise ValueError('no such network.')
        if case.name == 'is_skipped':
            raise plan.SkippedError('PyTorch is not installed here')
        if case.name == 'hangs':
            save([{'scheme': 'one_stage', 'batch_size': 1, 'flops': 1.0}])
            time.sleep(60)
        if case.name == 'dies':
            print('a compiler fell over', file=sys.stderr, flush=True)
            os._exit(7)
        self._note('prepared', case)
        return case

    def measure(self, case, save):
        self._note('measure', case)
        row = {'scheme': 'one_stage', 'batch_size': 8, 'seconds': 0.5, 'low': 0.4, 'high': 0.6}
        save([row])
        if case.name == 'is_too_large':
            raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying to allocate')
        if case.name == 'hangs_later':
            time.sleep(60)
        other = {**row, 'scheme': 'two_stage', 'time_ratio': 1.5, 'share_of_peak': 0.25}
        row |= {'time_ratio': 1.0, 'flops': 2e9, 'share_of_peak': 0.5, 'images_per_second': 16.0}
        save([row, other])
        self._note('measured', case)
        return {'peak_flops': 8e9, 'copy_bytes_per_second': 1e10}

    def _note(self, what, case):
        with open(self._log, 'a') as file:
            file.write(f'{what} {case.name}\n')


if __name__ == '__main__':
    worker.main(Bench, sys.argv[1])
