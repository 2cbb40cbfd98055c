#!/bin/sh
# Whether what is committed can be released: builds the source distribution and from it the wheel,
# lists them, installs the wheel outside the checkout and starts it. Some two minutes.
#
#     sh scripts/release-check.sh          # with the libraries of .venv
#     sh scripts/release-check.sh --fresh  # in an environment of its own: pip gets every library
#                                          # but torch at its newest; minutes and gigabytes more
#
# PYTHON names another Python than .venv's; it needs the extra dev.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
fresh=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '\n== %s\n' "$*"; }

say "What is committed"
changed=$(git -C "$here" status --short)
[ -z "$changed" ] || printf "Left out, as it is not committed:\n%s\n" "$changed"
mkdir "$work/source"
git -C "$here" archive HEAD | tar -x -C "$work/source"

say "Source distribution, and the wheel from it"
"$python" -m build --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 || {
    tail -n 30 "$work/build.log"; exit 1; }
ls -l "$work/dist"

say "The wheel's files are the package's, no more and no fewer"
git -C "$here" ls-tree -r --name-only HEAD quintet | sort >"$work/committed"
"$python" -m zipfile -l "$work"/dist/*.whl | awk 'NR > 1 { print $1 }' >"$work/listed"
grep '^quintet/' "$work/listed" | sort >"$work/packed"
diff "$work/committed" "$work/packed"
grep '/licenses/' "$work/listed"
wc -l <"$work/packed"

say "Installed outside the checkout"
"$python" -m venv "$work/venv"
if [ "$fresh" = --fresh ]; then
    "$work/venv/bin/pip" install --quiet -c "$here/constraints.txt" torch
    "$work/venv/bin/pip" install --quiet "$work"/dist/*.whl
else
    # The libraries of the other environment, but not what is installed there in editable form.
    "$python" -c 'import site; print(site.getsitepackages()[0])' \
        >"$work/venv/lib/$(ls "$work/venv/lib")/site-packages/libraries.pth"
    "$work/venv/bin/pip" uninstall --quiet --yes setuptools  # older than torch's, and in front of it
    "$work/venv/bin/pip" install --quiet --no-deps --force-reinstall "$work"/dist/*.whl
fi
"$work/venv/bin/pip" check
cd "$work"
PATH="$work/venv/bin:$PATH"
unset PYTHONPATH
quintet --version
quintet --help | head -n 3
python -c '
import quintet
assert quintet.__file__.startswith("'"$work"'"), quintet.__file__
print(quintet.load("nano").config.name, "of", quintet.__file__)'

say "It talks"
quintet talk --text "count to three." --out reply
test -s reply/reply.wav && test -s reply/timeline.png

say "It serves"
quintet serve --port 8399 >serve.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
python - <<'CLIENT'
import time
import urllib.request

for _ in range(240):
    try:
        page = urllib.request.urlopen("http://127.0.0.1:8399/", timeout=5).read()
        break
    except OSError:
        time.sleep(0.5)
else:
    raise SystemExit("The server did not answer.")
assert b"<title>Quintet</title>" in page
print(f"The page: {len(page):,} bytes")
CLIENT

say "It trains: the recipe is found"
quintet train tiny --stage text_tokenizer --out runs

say "Good: $(basename "$work"/dist/*.whl)"
