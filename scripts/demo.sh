#!/usr/bin/env bash
# On this machine: creates sample data, checks and trains in a tmux session, fetches and verifies the checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p demo && cd demo
export GPUJOB_ROOT="$PWD/root" XDG_STATE_HOME="$PWD/state" GPUJOB_FETCH_DIR=fetched
say() { printf '\n$ %s\n' "$*"; "$@"; }

[ -d sample ] || say gpujob prepare facenet-lstm --sample sample
say gpujob deploy facenet-lstm --on local --data sample --name demo --follow \
  --set config.epochs=10 --set config.warmup_epochs=1 --set config.learning_rate=0.004 \
  --set 'config.hidden=[64]' --set 'config.dense=[64]' --set config.num_workers=0
say gpujob status demo
say gpujob fetch demo
run=$(gpujob status demo --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["runs"][0]["id"])')
say gpujob verify "fetched/$run"

cat <<EOF

That was a real run: $run. Next, from the folder demo:
  export GPUJOB_ROOT="$PWD/root" PATH="$(cd .. && pwd)/.venv/bin:\$PATH"
  gpujob predict fetched/$run sample/ravdess/Actor_01/*.npz
  gpujob evaluate fetched/$run --data ravdess=sample/ravdess --data crema=sample/crema
  gpujob deploy facenet-lstm --data sample          trains with the full configuration
  gpujob monitor --attach                           attaches to its tmux session
EOF
