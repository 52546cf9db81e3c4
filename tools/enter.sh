#!/usr/bin/env bash
# Runs a command with the packages of this bundle, on top of the machine's own Python with torch:
#
#     bash enter.sh llamafactory-cli train recipe.yaml
#
# The first call makes a virtual environment of them, in seconds: beside this file, or at $RGPT4D_ENV.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
env=${RGPT4D_ENV:-$here/env}
python=${PYTHON:-python3}
[ $# -gt 0 ] || { echo "usage: bash enter.sh COMMAND..." >&2; exit 2; }

if [ ! -e "$env/ready" ] || [ "$here/site.tar.gz" -nt "$env/ready" ]; then
  image=$("$python" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])') || {
    echo "$python has no torch; set PYTHON to one that has" >&2; exit 1; }
  rm -rf "$env"
  "$python" -m venv --without-pip "$env"
  site=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  tar -C "$site" -xzf "$here/site.tar.gz"
  echo "$image" >"$site/zz_image.pth" # last on the path: the bundle's versions win over the machine's
  for entry in llamafactory-cli=llamafactory.cli rgpt4d=rgpt4d_plugin.cli; do
    printf '#!%s\nimport sys\nfrom %s import main\nsys.exit(main())\n' "$env/bin/python" "${entry#*=}" \
      >"$env/bin/${entry%%=*}"
    chmod +x "$env/bin/${entry%%=*}"
  done
  touch "$env/ready"
fi
# The bundle's plugin is used, not a checkout that happens to be the current folder.
export PATH="$env/bin:$PATH" PYTHONSAFEPATH=1 HF_HUB_OFFLINE=1
exec "$@"
