#!/usr/bin/env bash
# From a file of conversations to a served SmolLM2 on one GPU, unattended; each command stands before what it says.
#
#   DATA=calls.jsonl MODEL=~/models/smollm2-135m-instruct OUT=out bash docs/own-data/gpu.sh
#
# Everything is in $OUT/own-data.log as well. What is done already is not done again: start it once more after a fault.
set -euo pipefail
tree=$(cd "$(dirname "$0")/../.." && pwd)
OUT=$(mkdir -p "${OUT:-own-data}" && cd "${OUT:-own-data}" && pwd)
WORK=${WORK:-$HOME/calls}                                  # where a user would stand
DATA=${DATA:-calls.jsonl}                                  # prepare.py writes it, where bfcl-eval is installed
MODEL=${MODEL:-$HOME/models/smollm2-135m-instruct}         # `make model` writes it
STEPS=${STEPS:-200} BATCH=${BATCH:-16} PROMPTS=${PROMPTS:-90} PORT=${PORT:-8017}
GUARD=${GUARD:-}  # --no-guard scores nothing but the calls
SERVE=${SERVE:---enforce-eager --max-model-len 2048 --gpu-memory-utilization 0.4}  # goes to vLLM as it is
for needed in "$DATA" "$MODEL/config.json"; do
  [ -e "$needed" ] || { echo "$needed: is not there; see the head of $0" >&2; exit 2; }
done
DATA=$(realpath "$DATA") MODEL=$(realpath "$MODEL")
mkdir -p "$WORK/bin" && cd "$WORK"
export PYTHONPATH=$tree${PYTHONPATH:+:$PYTHONPATH} PATH=$WORK/bin:$PATH PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export COLUMNS=120 NO_COLOR=1 TERM=dumb
if ! command -v polymath > /dev/null; then  # where the tree is not installed
  printf '%s\n' '#!/usr/bin/env python3' 'from polymath.entry import main' 'if __name__ == "__main__":' '    main()' > bin/polymath
  chmod +x bin/polymath
fi
python=$(command -v python3)
[ ! -x "$(dirname "$(command -v polymath)")/python" ] || python=$(dirname "$(command -v polymath)")/python

do_() { # seconds that it may take, command
  local limit=$1 began=$SECONDS rc=0
  shift
  printf '\n$ %s\n' "$*"
  timeout -k 10 "$limit" "$@" || rc=$?
  printf '[%d s]\n' $((SECONDS - began))
  [ "$rc" -eq 0 ] || printf '[exit status %d%s]\n' "$rc" "$([ "$rc" -ne 124 ] || echo ", for it took more than $limit s")"
  return "$rc"
}

healthy() { "$python" -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$PORT/health', timeout=2)" 2> /dev/null; }

server=
end() { [ -z "$server" ] || kill -TERM "$server" 2> /dev/null || true; }

all() {
  trap end EXIT
  ln -sfn "$DATA" calls.jsonl && ln -sfn "$MODEL" smollm2
  local offline=--offline set=(--set "tuned.max_steps=$STEPS" --set tuned.learning_rate=1e-3)
  [ "$BATCH" = 16 ] || set+=(--set "tuned.per_device_train_batch_size=$BATCH")
  [ "$PROMPTS" = 90 ] || set+=(--set "scores.num_prompts=$PROMPTS")
  if ! "$python" -c "from polymath.offline import leave_networks; leave_networks()" 2> "$OUT/offline.txt"; then
    echo "[this machine grants no network namespace, so --offline is left out: $(tail -n 1 "$OUT/offline.txt")]"
    offline=
  fi
  do_ 120 polymath doctor || true
  [ -e calls.yaml ] || do_ 60 polymath new calls --data calls.jsonl --model ./smollm2
  do_ 5 cat calls.yaml
  do_ 180 polymath plan calls.yaml $offline "${set[@]}"
  do_ "${LIMIT:-600}" polymath run calls.yaml --run-dir runs/calls $offline "${set[@]}"
  do_ "${LIMIT:-600}" polymath eval runs/calls --num-prompts "$PROMPTS" $offline $GUARD
  [ -e calls-model/provenance.json ] || do_ "${LIMIT:-240}" polymath export runs/calls calls-model --form merged
  do_ 60 polymath verify calls-model
  do_ 5 cat calls-model/README.md
  do_ 60 polymath serve calls-model --port "$PORT" --print $SERVE
  printf '\n$ polymath serve calls-model --port %s %s > serve.log 2>&1 &\n' "$PORT" "$SERVE"
  local began=$SECONDS
  polymath serve calls-model --port "$PORT" $SERVE > serve.log 2>&1 &
  server=$!
  until healthy; do
    if ! kill -0 "$server" 2> /dev/null || [ $((SECONDS - began)) -gt "${LIMIT:-600}" ]; then
      echo "[the server does not answer; the end of serve.log:]"
      tail -n 30 serve.log
      return 1
    fi
    sleep 1
  done
  echo "[it answers after $((SECONDS - began)) s]"
  do_ 120 python "$tree/docs/own-data/ask.py" calls "$PORT"
  printf '\n$ kill %%1\n'
  kill -TERM "$server" && wait "$server" || true
  server=
  [ ! -s serve.log ] || cp serve.log "$OUT/"
  cp -r calls.yaml calls-model/README.md calls-model/provenance.json runs/calls/report/summary.json "$OUT/"
  printf '\n[all of it took %d s]\n' "$SECONDS"
}

command -v python > /dev/null || ln -sfn "$python" bin/python
strip='s/\x1b\[[0-9;?]*[A-Za-z]//g; s/.*\r//'
all 2>&1 | sed -u -e "$strip" -e "s#$tree#polymath#g; s#$python#python3#g; s#$HOME#~#g" | tee "$OUT/own-data.log"
exit "${PIPESTATUS[0]}"
