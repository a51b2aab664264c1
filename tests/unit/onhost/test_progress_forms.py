"""Lines in the forms of many programs: what each is taken for, alone and after the lines before it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.onhost.progress_reader import LogReader

NAN = float("nan")
LINES: list[tuple[str, dict[str, Any]]] = [
    # a place in brackets, without names
    (
        "Epoch(train) [2][ 50/100]  lr: 1e-3  eta: 1 day, 2:03:04  loss: 0.5",
        {"step": 50, "epoch": 2, "lr": 1e-3},
    ),
    ("01/02 03:04:05 - engine - INFO - Iter(train) [ 40/800]  lr: 1e-3  loss: 0.5", {"step": 40, "of": 800}),
    ("[1/4][20/50] Loss_D: 1.5 D(x): 0.5 D(G(z)): 0.5 / 0.1", {"step": 20, "of": 200, "loss": 1.5}),
    (
        "Train: 3 [ 5/20 ( 25%)]  Loss: 0.5 (0.6)  Time: 0.4s, 9.1/s (0.5s, 8.0/s)  LR: 1e-05",
        {"step": 5, "of": 20, "epoch": 3, "loss": 0.5},
    ),
    (
        "epoch 002:     30 / 900 loss=4.5, ppl=22.6, wps=1200, gnorm=2.5",
        {"step": 30, "of": 900, "grad_norm": 2.5},
    ),
    (
        "| epoch   2 |   30/  900 batches | lr 5.00 | ms/batch 12.5 | loss  4.5 | ppl 90.0",
        {"step": 30, "of": 900, "lr": 5.0},
    ),
    ("[ 30/900] loss: 0.5 acc: 0.8", {"step": 30, "of": 900, "loss": 0.5}),
    ("3% 30/900 loss 0.5", {"step": 30, "of": 900, "loss": 0.5}),
    ("loss: 0.5  [  640/60000]", {"step": 640, "of": 60000, "loss": 0.5}),
    # names and numbers
    ("step 30 of 900, loss 0.5", {"step": 30, "of": 900}),
    ("Epoch 3 of 10: loss=0.5", {"step": 3, "of": 10, "epoch": 3}),
    ("Iter 30/900  Loss 0.5  0.12s/it", {"step": 30, "of": 900, "loss": 0.5}),
    ("step 1,200 | loss 2.5 | 45,678 tok/s", {"step": 1200, "loss": 2.5}),
    (
        "step 00012/21400 (0.06%) | loss: 8.5 | dt: 12.5ms | tok/sec: 423,456 | total time: 0.12m",
        {"step": 12, "of": 21400},
    ),
    (
        " iteration  30/ 900 | elapsed time per iteration (ms): 12.5 | lm loss: 4.5E+00 | grad norm: 2.5 |",
        {"step": 30, "of": 900, "loss": 4.5, "grad_norm": 2.5},
    ),
    (
        "[01/02 03:04:05 d2.utils.events]:  eta: 0:02:03  iter: 30  total_loss: 1.5  loss_cls: 0.5",
        {"step": 30, "left": 123, "loss": 1.5, "train": {"loss_cls": 0.5}},
    ),
    ("2026-01-02 03:04:05.123 | INFO     | __main__:train:42 - step 30 loss 0.5", {"step": 30, "loss": 0.5}),
    ("(TrainWorker pid=123, ip=10.0.0.1) epoch 3 loss 0.5", {"epoch": 3, "loss": 0.5}),
    ("[1,0]<stdout>:step 30 loss 0.5", {"step": 30, "loss": 0.5}),
    ("0: step 30 loss 0.5", {"step": 30, "loss": 0.5}),
    ("Training loss (for one batch) at step 30: 0.5", {"step": 30, "loss": 0.5}),
    ("Validation loss after epoch 3 = 0.5", {"epoch": 3, "val": {"loss": 0.5}}),
    ("Cost after iteration 300: 0.5", {"step": 300, "train": {"cost": 0.5}}),
    ("INFO:tensorflow:loss = 2.5, step = 30 (1.2 sec)", {"step": 30, "loss": 2.5}),
    ("Epoch 3: val_loss 0.5 (best 0.4)", {"epoch": 3, "val": {"loss": 0.5}}),
    ("epoch 3 loss tensor(0.5, device='cuda:0', grad_fn=<MeanBackward0>)", {"epoch": 3, "loss": 0.5}),
    ("episode 30  Average reward: 12.5", {"step": 30, "train": {"reward": 12.5}}),
    ("step 30: mean loss inf", {"step": 30, "loss": float("inf")}),
    (
        "Epoch  10/60 - Train Loss: 0.5 (Acc: 85.0%) | Val Loss: 0.6 (Acc: 83.0%)",
        {"step": 10, "val": {"loss": 0.6, "acc": 83}, "train": {"acc": 85}},
    ),
    ("Epoch[3] Batch[100] Speed: 123.45 samples/sec Loss: 0.5", {"step": 100, "epoch": 3, "loss": 0.5}),
    (
        "Epoch 1 complete.  Train Cost 1.5.  Eval Cost 1.25",
        {"epoch": 1, "train": {"cost": 1.5}, "val": {"cost": 1.25}},
    ),
    (
        "Epoch: 1/2..  Training Loss: 0.6..  Test Loss: 0.5..  Test Accuracy: 0.8",
        {"epoch": 1, "loss": 0.6, "test": {"loss": 0.5, "accuracy": 0.8}},
    ),
    ("INFO - Epoch 3 completed out of 10 loss: 2664.5", {"step": 3, "of": 10, "loss": 2664.5}),
    ("Epoch 1 | Step 100/900 | Global Step 100 | Loss: 0.5", {"step": 100, "of": 900, "loss": 0.5}),
    (
        "[Epoch 12] train_loss: 0.7 | dev_loss: 0.75 | dev_acc: 82.5% | lr=0.001",
        {"epoch": 12, "val": {"loss": 0.75, "acc": 82.5}, "lr": 0.001},
    ),
    ("INFO:tensorflow:global step 80: loss = 21.5 (9.2 sec/step)", {"step": 80, "loss": 21.5}),
    ("step 80 | loss 2.5 | tok/s 12.3k | mem 1.2 GB", {"step": 80, "loss": 2.5}),
    # of validation and test
    ("val Loss: 0.5 Acc: 0.75", {"val": {"loss": 0.5, "acc": 0.75}}),
    ("Validation accuracy: 81.5%", {"val": {"accuracy": 81.5}}),
    ("* Acc@1 56.5 Acc@5 79.0", {"train": {"acc_1": 56.5, "acc_5": 79.0}}),
    ("Test:  Acc@1 56.5 Acc@5 79.0", {"test": {"acc_1": 56.5, "acc_5": 79.0}}),
    (
        "Epoch(val) [2][20/20]    coco/bbox_mAP: 0.25  data_time: 0.1  time: 0.2",
        {"val": {"coco_bbox_map": 0.25}},
    ),
    (
        "| end of epoch   2 | time: 12.5s | valid loss  5.0 | valid ppl 148.0",
        {"epoch": 2, "val": {"loss": 5.0, "ppl": 148.0}},
    ),
    ("epoch 3 train_loss 0.5 val_loss 0.6 acc 0.9", {"loss": 0.5, "val": {"loss": 0.6, "acc": 0.9}}),
    ("[30]\ttrain-rmse:0.5\tval-rmse:0.6", {"step": 30, "train": {"rmse": 0.5}, "val": {"rmse": 0.6}}),
    ("[30]\tvalid_0's l2: 0.25", {"step": 30, "val": {"l2": 0.25}}),
    (
        "30:\tlearn: 0.5\ttest: 0.6\tbest: 0.6 (30)\ttotal: 52.1ms\tremaining: 9s",
        {"step": 30, "loss": 0.5, "test": {"loss": 0.6}},
    ),
    # dictionaries
    ("{'loss': nan, 'grad_norm': inf, 'learning_rate': 0.0, 'epoch': 0.5}", {"loss": NAN, "epoch": 0.5}),
    (
        '{"epoch": 3, "train": {"loss": 0.5}, "val": {"loss": 0.6, "acc": 0.9}}',
        {"epoch": 3, "loss": 0.5, "val": {"loss": 0.6, "acc": 0.9}},
    ),
    ("epoch 3: {'accuracy': 0.75, 'f1': 0.5}", {"epoch": 3, "train": {"accuracy": 0.75, "f1": 0.5}}),
    ("Validation metrics: {'accuracy': 0.75}", {"val": {"accuracy": 0.75}}),
    ('INFO - Metrics: {"loss": 0.5, "accuracy": 0.75}', {"loss": 0.5, "train": {"accuracy": 0.75}}),
    (
        '2026-01-02 03:04 | INFO | train | {"epoch": 1, "update": 0.1, "loss": "2.5", "num_updates": "30"}',
        {"step": 30, "loss": 2.5},
    ),
    (
        "{'eval_matthews_correlation': 0.5, 'eval_runtime': 1.5, 'eval_samples_per_second': 9.0, 'epoch': 1}",
        {"epoch": 1, "val": {"matthews_correlation": 0.5}},
    ),
    ("{'rewards/chosen': 0.5, 'epoch': 1}", {"epoch": 1, "train": {"rewards_chosen": 0.5}}),
    ("{'loss': np.float64(0.5), 'step': 30}", {"step": 30, "loss": 0.5}),
    # bars
    (
        "Epoch 1/3 : |████------------| 40.00% [40/100 00:02<00:03 0.5123]",
        {"step": 40, "of": 300, "loss": 0.5123},
    ),
    ("train: 40% ━━━━╸─────── 4/10 3.5it/s 1.2s<1.5s", {"step": 4, "of": 10}),
    ("train  40% ━━━━━━━━━━━━━ 4/10  [ 0:00:01 < 0:00:02 , 2 it/s ]", {"step": 4, "of": 10, "left": 2}),
    ("train: 40%|████      | 4/10", {"step": 4, "of": 10}),
    ("Epoch 3: 4%|#| 4/9 [00:01<00:03, 2it/s, train_loss_step=0.5, train_loss_epoch=0.6]", {"loss": 0.5}),
    ("| val_accuracy │ 0.75 |", {"val": {"accuracy": 0.75}}),
]


BLOCKS: list[tuple[str, list[str], dict[str, Any]]] = [
    (
        "a heading of a table names the numbers in its rows",
        ["epoch     train_loss  valid_loss  accuracy  time", "0         0.5   0.6    0.75   00:12"],
        {"epoch": 0, "loss": 0.5, "val": {"loss": 0.6, "accuracy": 0.75}},
    ),
    (
        "a row of a table before a bar",
        [
            "   Epoch  GPU_mem  box_loss  cls_loss  Instances  Size",
            "   3/10   2.61G    1.25      1.5       71         640: 50%|█████     | 4/8 [00:02<00:02, 3it/s]",
            "   Class  Images  Instances  Box(P  mAP50  mAP50-95): 100%|█| 4/4 [00:01<00:00, 2it/s]",
            "   all    128     929        0.64   0.5    0.25",
        ],
        {"step": 20, "of": 80, "epoch": 3, "val": {"map50": 0.5, "map50_95": 0.25}},
    ),
    (
        "the heading of an epoch counts for the steps after it",
        ["Epoch 2/3", "-" * 9, "step 5/20 loss 0.5"],
        {"step": 25, "of": 60, "epoch": 2, "epochs": 3},
    ),
    (
        "steps that go on from epoch to epoch are counted as they are",
        ["Epoch 1/3", "step 20/60 loss 0.5", "Epoch 2/3", "step 21/60 loss 0.4"],
        {"step": 21, "of": 60},
    ),
    (
        "an epoch with its batches, and a validation",
        [
            "======== Epoch 2 / 4 ========",
            "  Batch   160  of    240.    Elapsed: 0:00:29.",
            "  Average training loss: 0.5",
            "Running Validation...",
            "  Accuracy: 0.75",
            "  Validation took: 0:00:02",
        ],
        {"step": 400, "of": 960, "epoch": 2, "loss": 0.5, "val": {"accuracy": 0.75}},
    ),
    (
        "an epoch with its learning rate, and a summary",
        ["EPOCH: 3/90 | LR: 0.1", "Epoch 3 Summary:", "  Validation Loss: 4.5, Validation Accuracy: 14.5%"],
        {"epoch": 3, "val": {"loss": 4.5, "accuracy": 14.5}},
    ),
    (
        "a bar after the heading of an epoch is of that epoch",
        ["Epoch 2/3", " 25%|██        | 5/20 [00:01<00:03, 5it/s]"],
        {"step": 25, "of": 60, "epoch": 2},
    ),
    (
        "epochs that count from 0",
        ["[0/4][49/50] loss: 0.5", "[1/4][10/50] loss: 0.4"],
        {"step": 60, "of": 200},
    ),
    (
        "values after `Test Error:` are of the test",
        ["Epoch 3", "loss: 0.5  [  640/60000]", "Test Error:", " Accuracy: 45.0%, Avg loss: 2.5"],
        {"step": 640, "of": 60000, "of_epoch": True, "loss": 0.5, "test": {"accuracy": 45.0, "loss": 2.5}},
    ),
    (
        "the batches of a test say what comes after them",
        ["Epoch: [0][10/50] Loss 0.5 (0.6)", "Test: [10/20] Loss 0.9 (0.8)", " * Acc@1 56.5 Acc@5 79.0"],
        {"step": 10, "loss": 0.5, "test": {"acc_1": 56.5, "acc_5": 79.0}},
    ),
    (
        "a bar that has ended gives way to the steps of lines",
        ["100%|██████████| 60000/60000 [00:01<00:00, 9000it/s]", "step=10 loss=0.5"],
        {"step": 10, "of": None, "loss": 0.5},
    ),
    (
        "rows of names and values",
        [
            "| time/            |       |",
            "| total_timesteps  | 2048  |",
            "| train/           |       |",
            "|    loss          | 0.5   |",
        ],
        {"step": 2048, "loss": 0.5},
    ),
    (
        "the bar of an evaluation after the last epoch",
        ["Epoch 2/2", "8/8 - 1s - 9ms/step - loss: 0.5 - val_loss: 0.6", "4/4 - 0s - 9ms/step - loss: 0.75"],
        {"step": 16, "of": 16, "loss": 0.5, "test": {"loss": 0.75}},
    ),
]


def read(lines: list[str]) -> dict[str, Any]:
    """What the lines are taken for: the last progress, and the last loss and metrics of each split."""
    reader, progress, kept = LogReader(), dict[str, Any](), dict[str, Any]()
    for line in lines:
        for event in reader.feed(line):
            if event["event"] == "metrics":
                kept[event["split"]] = event["values"]
                continue
            progress = event
            kept.update({name: event[name] for name in ("loss", "lr", "grad_norm") if name in event})
    return {**progress, **kept}


def plain(value: object) -> object:
    """Numbers as texts, so that 3 is 3.0 and NaN is itself."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value if isinstance(value, bool) or not isinstance(value, int | float) else str(float(value))


@pytest.mark.parametrize(("line", "meaning"), LINES, ids=[line[:40] for line, _ in LINES])
def test_a_form_of_progress_is_understood(line: str, meaning: dict[str, Any]) -> None:
    found = read([line])
    assert {key: plain(found.get(key)) for key in meaning} == plain(meaning)


@pytest.mark.parametrize(("name", "lines", "meaning"), BLOCKS, ids=[name for name, _, _ in BLOCKS])
def test_lines_are_read_in_the_light_of_those_before(
    name: str, lines: list[str], meaning: dict[str, Any]
) -> None:
    found = read(lines)
    assert {key: plain(found.get(key)) for key in meaning} == plain(meaning)


def test_the_code_in_a_traceback_says_nothing() -> None:
    assert read(['  File "train.py", line 10, in fit', "    accuracy = 0.5"]) == {}
    assert read(["Test:", "return 0"]) == {}
