#!/bin/sh
# Installs the programs and fonts that the synthetic world, the page's test, and the benchmarks of
# the codec and the image tokenizer use, where that is allowed.
set -u

missing=""
command -v espeak-ng >/dev/null || missing="$missing espeak-ng"
[ -f /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ] || missing="$missing fonts-noto-color-emoji"
command -v chromium >/dev/null || missing="$missing chromium"
command -v c2enc >/dev/null || missing="$missing codec2"
command -v tesseract >/dev/null || missing="$missing tesseract-ocr tesseract-ocr-eng"
[ -f /usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf ] || missing="$missing fonts-liberation"
[ -z "$missing" ] && exit 0

root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then root="sudo -n"; else root="no"; fi
fi
if [ "$root" != "no" ] && command -v apt-get >/dev/null; then
    echo "Installing$missing ..."
    # shellcheck disable=SC2086
    if $root apt-get update -qq >/dev/null 2>&1 &&
        $root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1; then
        exit 0
    fi
fi
echo "Not installed:$missing (the world's speech, its pictures, the page's test, the codec's peer," \
    "the reading and the fonts of test pages);" \
    "what needs them is skipped. On Debian: apt-get install$missing"
exit 0
