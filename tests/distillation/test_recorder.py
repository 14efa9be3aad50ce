"""What is printed and written of a classifier's accuracy."""

import json
import types

import pytest

from osgan_jax.distillation import recorder
from osgan_jax.distillation.config import TeacherConfig
from osgan_jax.engine.runs import Run


class Accuracy:
    """The accuracies that it is given, one a call."""

    def __init__(self, values):
        self.count = 100
        self.about = {'dataset': 'toy', 'fingerprint': 'none', 'num_samples': self.count}
        self._values = iter(values)

    def __call__(self, variables, check=None):
        return next(self._values)


def test_an_accuracy_is_printed_every_ten_seconds_and_at_the_end(tmp_path, capsys, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(recorder.time, 'monotonic', lambda: seconds[0])
    run = Run(TeacherConfig(num_steps=5, batch_size=4), 2, ('a', 'b'), 8)
    accuracy = Accuracy([0.1, 0.2, 0.3, 0.4, 0.5])
    state = types.SimpleNamespace(student=types.SimpleNamespace(variables={}))
    own = recorder.DistillRecorder(
        run, tmp_path, 0, title='toy', accuracy=accuracy, generator=None, flops=None
    )
    for step, seconds[0] in enumerate((0.0, 4.0, 8.0, 12.0, 13.0), 1):
        own.evaluate(step, state)
    own.close()
    lines = [line for line in capsys.readouterr().out.splitlines() if 'accuracy' in line]
    assert lines == [
        'step 1: accuracy 0.1000 on 100 test images',
        'step 4: accuracy 0.4000 on 100 test images',
        'step 5: accuracy 0.5000 on 100 test images',
    ]
    text = (tmp_path / 'evaluations.jsonl').read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    assert [entry['accuracy'] for entry in entries] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
