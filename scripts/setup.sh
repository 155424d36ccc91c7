#!/usr/bin/env bash
# Everything a fresh Debian or Ubuntu with python3, make and git lacks, without a question:
# the OpenSSH programs that the tests and the demo drive, uv, and .venv with the locked packages.
# With --tools, instead: the other programs that only the interop tests drive.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

apt_updated=no
apt_install() {
    command -v apt-get >/dev/null || return 1
    if [ "$apt_updated" = no ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq || return 1
        apt_updated=yes
    fi
    say "apt-get install $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

need() { # program, Debian package
    have "$1" || apt_install "$2" || {
        say "'$1' is missing and cannot be installed from here: install the package '$2'"
        exit 1
    }
}

python_at_least_311() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && python_at_least_311 "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    say "Python 3.11 or later is needed"
    exit 1
}

find_uv() { # prints the path of a uv, made in .venv-uv if the machine has none that runs
    if uv --version >/dev/null 2>&1; then
        command -v uv
        return
    fi
    if ! .venv-uv/bin/uv --version >/dev/null 2>&1; then
        # Debian's own pip refuses to install outside a virtual environment, so uv gets one.
        if ! "$1" -m venv --clear .venv-uv >/dev/null 2>&1; then
            apt_install python3-venv || { say "python3-venv is missing and cannot be installed from here"; exit 1; }
            "$1" -m venv --clear .venv-uv >&2
        fi
        say "installing uv into .venv-uv"
        .venv-uv/bin/pip install --quiet --disable-pip-version-check uv >&2
    fi
    echo "$PWD/.venv-uv/bin/uv"
}

if [ "${1:-}" = --tools ]; then
    need dbclient dropbear-bin
    need dropbear dropbear-bin
    need sshfs sshfs
    need strace strace
    need ip iproute2
    ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || apt_install libfaketime || {
        say "libfaketime is missing and cannot be installed from here: install the package 'libfaketime'"
        exit 1
    }
    # Ubuntu's package leads to a snap, which starts in no container: there the browser is Playwright's own.
    chromium --version >/dev/null 2>&1 || { apt_install chromium && chromium --version >/dev/null 2>&1; } ||
        .venv/bin/playwright install --with-deps chromium >&2 || {
        say "Chromium is missing and cannot be installed from here: install the package 'chromium'"
        exit 1
    }
    need softhsm2-util softhsm2
    need Xvfb xvfb
    need xauth xauth
    need xdpyinfo x11-utils
    # Debian keeps the server's programs out of PATH. The tests start one of their own; that of the package is not used.
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || have initdb || apt_install postgresql || {
        say "PostgreSQL is missing and cannot be installed from here: install the package 'postgresql'"
        exit 1
    }
    # npm's oidc-provider, by its lock file, beside the sources of others that linters would read.
    need node nodejs
    need npm npm
    if ! cmp -s src/interlock/testing/oidc/package-lock.json .node/.installed; then
        say "npm ci into .node"
        mkdir -p .node
        cp src/interlock/testing/oidc/package.json src/interlock/testing/oidc/package-lock.json .node/
        (cd .node && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
        cp .node/package-lock.json .node/.installed
    fi
    exit
fi

need ssh openssh-client
need sshd openssh-server
need rsync rsync
need git git

python=$(find_python)
# An environment that works is kept, whichever Python made it: re-creating it would pull it away from running tools.
if [ -x .venv/bin/python ] && python_at_least_311 .venv/bin/python; then
    python=$PWD/.venv/bin/python
fi
uv=$(find_uv "$python")
say "packages of uv.lock into .venv ($("$python" --version))"
# The machine's own Python is used, never a downloaded one; UV_PYTHON wins over .python-version.
# The machine's certificates know the proxies that a company may have between here and the package index.
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 # the second is the name before uv 0.11
fi
UV_PYTHON="$python" UV_PYTHON_DOWNLOADS=never "$uv" sync --frozen --quiet --compile-bytecode
date >.venv/.setup-done
