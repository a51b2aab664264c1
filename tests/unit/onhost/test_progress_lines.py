"""Which lines of a log are taken for progress, and for what."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.onhost.progress_reader import LogReader

LINES: list[tuple[str, dict[str, Any]]] = [
    ("step=100 loss=0.5 lr=1e-4", {"step": 100, "loss": 0.5, "lr": 1e-4}),
    ("step 100/1000 loss 0.5 grad_norm 1.25", {"step": 100, "of": 1000, "loss": 0.5, "grad_norm": 1.25}),
    ("iter 10: loss 2.3012, time 120.11ms, mfu 3.10%", {"step": 10, "loss": 2.3012}),
    ("step 250: train loss 2.1, val loss 2.2", {"step": 250, "loss": 2.1, "val": {"loss": 2.2}}),
    (
        "Epoch [2/10], Step [20/600], Loss: 2.1021",
        {"step": 620, "of": 6000, "epoch": 2, "epochs": 10, "loss": 2.1021},
    ),
    (
        "Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.305",
        {"step": 640, "of": 60000, "epoch": 1, "loss": 2.305, "of_epoch": True},
    ),
    (
        "Epoch: [0][ 10/100]\tTime  0.5 ( 0.6)\tData  0.1 ( 0.2)\t"
        "Loss 6.9e+00 (7.0e+00)\tAcc@1   0.00 (  0.25)",
        {"step": 10, "of": 100, "epoch": 0, "loss": 6.9},
    ),
    ("[1,  2000] loss: 2.173", {"step": 2000, "epoch": 1, "loss": 2.173}),
    (
        "epoch 3 train_loss 0.5 val_loss 0.6 val_acc 0.9",
        {"epoch": 3, "loss": 0.5, "val": {"loss": 0.6, "acc": 0.9}},
    ),
    ("Epoch 3/10 - loss: 0.5 - val_loss: 0.6", {"step": 3, "of": 10, "loss": 0.5, "val": {"loss": 0.6}}),
    (
        "2026-11-26 03:20:43,123 - root - INFO - step: 10  loss:  8.1  grad_norm: 2.5",
        {"step": 10, "loss": 8.1},
    ),
    ("INFO:root:step=7 loss=nan", {"step": 7, "loss": "nan"}),
    ("[rank0]: step 5 | loss 3.25 | lr 0.001 | tok/s 12345", {"step": 5, "loss": 3.25, "lr": 0.001}),
    ("[2026-11-26 03:20:43] Epoch: 4, loss=0.25", {"epoch": 4, "loss": 0.25}),
    (
        "Test set: Average loss: 0.0312, Accuracy: 9900/10000 (99%)",
        {"test": {"loss": 0.0312, "accuracy": 0.99}},
    ),
    ("loss: 0.5, acc: 0.9", {"loss": 0.5, "train": {"acc": 0.9}}),
    ('{"step": 10, "loss": 0.5, "val/f1": 0.25}', {"step": 10, "loss": 0.5, "val": {"f1": 0.25}}),
    ("{'loss': 0.5, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.4}", {"loss": 0.5, "lr": 5e-05}),
    ("{'eval_loss': '0.52', 'eval_runtime': '0.04', 'epoch': '1'}", {"epoch": 1, "val": {"loss": 0.52}}),
    (
        "Epoch 3: 40%|####      | 40/100 [00:02<00:03, 19.9it/s, loss=0.512]",
        {"step": 40, "of": 100, "epoch": 3},
    ),
    ("100/469 [=====>........] - ETA: 3s - loss: 0.5 - accuracy: 0.9", {"step": 100, "of": 469, "loss": 0.5}),
    ("training: 1.20k/10.0k", {}),
    (
        "training:  12%|█▏        | 1.20k/10.0k [01:00<07:20, 20.0it/s]",
        {"step": 1200, "of": 10000, "left": 440},
    ),
]


def read(line: str) -> dict[str, Any]:
    """What a line is taken for, in one dictionary."""
    found: dict[str, Any] = {}
    for event in LogReader().feed(line):
        found.update({event["split"]: event["values"]} if event["event"] == "metrics" else event)
    return found


@pytest.mark.parametrize(("line", "meaning"), LINES, ids=[line[:40] for line, _ in LINES])
def test_a_line_of_progress_is_understood(line: str, meaning: dict[str, Any]) -> None:
    found = read(line)
    shown = {key: str(value) if value != value else value for key, value in found.items()}
    assert {key: shown.get(key) for key in meaning} == meaning
    assert bool(found) == bool(meaning)


OTHERS = """
Step 3/10 : RUN pip install torch
[3/10] Compiling loss.cpp
Downloading data: 40%|████      | 400M/1.00G [00:08<00:12, 50.0MB/s]
Namespace(epoch=10, loss='mse', lr=0.1, step_size=30)
epochs=10 lr=0.001 batch_size=32 warmup_steps=100
seed=1 loss_weight=0.3 loss_scale=65536
config: step=100 loss=0.5
loss=mse optimizer=sgd
Using loss cross_entropy with label smoothing 0.1
loss function: 2
Best so far: epoch 3, loss 0.5
Resuming from step 1000 with loss 0.5
Saving checkpoint at step 100 with loss 0.5 to out/model.pt
Loaded checkpoint epoch=3-step=300-val_loss=0.52.ckpt
checkpoints/epoch=3-step=300-val_loss=0.52.ckpt
Epoch 3: val_loss improved from 0.52 to 0.41, saving model to best.keras
EarlyStopping: val_loss did not improve from 0.5 at epoch 3
if step == 10: loss = 0.5
assert step == 3 and loss == 0.5
  File "train.py", line 10, in step
    loss = model(batch)  # step 3
HTTP error 404 at step 3
10 packets transmitted, 10 received, 0% packet loss, time 9012ms
64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.05 ms
| 30%   45C    P8    20W / 250W |   300MiB / 8000MiB |   40%  Default |
tests/test_loss.py::test_step[3] PASSED [ 40%]
Collecting tqdm==4.66
2026-11-26 03:20:43 step started
step size 0.1, momentum 0.9
Step 1: load the data
Train set: 50000 samples, val set: 10000 samples
target accuracy 0.9 until epoch 10
W1126 03:20:43 loss.cc:40] step took 3.5 s
params: 1.2M, flops: 3.4G, acc@1 expected 76.1 after epoch 90
gpujob: attempt 2 ended with exit code 1
Reached score threshold 0.5 at step 10
{'epochs': 10, 'lr': 0.1, 'loss': 'mse'}
{"step": 3, "name": "loss"}
{'batch_size': 32, 'loss_weight': 0.5, 'step': 1}
usage: train.py --step 10 --loss 0.5
python train.py --epoch 10 --loss 0.5
ratio 3/4 of 12/30 files, 40% done
2026-01-02 03:04:05 loading step 3 of 7
Downloading torch-2.3.0-cp311-manylinux1_x86_64.whl (779.1 MB)
     ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 779.1/779.1 MB 1.2 MB/s eta 0:00:00
model.safetensors: 100%|██████████| 440M/440M [00:04<00:00, 102MB/s]
100%|██████████| 170498071/170498071 [00:05<00:00, 31234567.12it/s]
model.pt: 38% ━━━━╸─────── 2.1/5.4MB 31.2MB/s 0.2s<0.3s
Metric val_loss improved by 0.012 >= min_delta = 0.0. New best score: 0.512
Epoch 00003: reducing learning rate of group 0 to 1.0000e-03.
Total params: 101,770 (397.54 KB)
tests/test_loss.py ..........                                     [ 40%]
================== 12 passed, 1 warning in 3.21s ==================
[ 40%] Building CXX object CMakeFiles/loss.dir/loss.cpp.o
Step 1/7 : FROM pytorch/pytorch
batch size 32, accuracy target 0.95
Loss weights: cls 1.0 box 5.0
seed: 42, epochs: 10, lr: 0.1, loss: mse
3/10 files, 2 errors
Step 2: precision fp16
precision: 16
error: 3
WARNING: step 10: loss 0.5 is larger than before
AssertionError: loss 0.5 != 0.4 at step 10
{"lr": 0.001, "loss": 1.0, "epochs": 10}
{"model": "resnet", "step": 10, "top": 5}
config: {'loss': 0.5, 'step': 1}
[3]: 0.512
1: loss of generality
| batch_size | 32 |
test 3/10: error 0.5
--epoch 10 --loss 0.5
Nov 27 10:11:12 host sshd[123]: error: 3 attempts
[2/2] Saving best: loss 0.5
GET /metrics?step=10&loss=0.5 200
Version 1.2: loss 0.5
epoch  loss  accuracy
commit 1234567 loss 0.5 (HEAD)
New best model saved with loss: 3.5
Step 2/4. Installing.
toxic          | acc: 0.75
    raise errors[0]
self.avg_loss = 0.0
8987 77F2 9738 58E9 705E
""".strip("\n").split("\n")


@pytest.mark.parametrize("line", OTHERS)
def test_a_line_that_only_looks_like_progress_is_ignored(line: str) -> None:
    assert read(line) == {}
