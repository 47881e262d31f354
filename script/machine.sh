# What the other scripts know of this machine; sourced by them, does nothing by itself.
# shellcheck shell=bash
#
# Not a command: it finds programs, runs them as another user, and starts and stops the private
# servers around whatever a script does.

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
local_dir=${KMSNOTIF_LOCAL:-$root/.local}

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "$(basename "$0"): $*"
  exit 1
}

# Prints the comment block at the top of a script, which is its help.
help_of() { awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$1"; }

has() { command -v "$1" >/dev/null 2>&1; }

# rustup writes PATH for new shells only.
use_rust() {
  if ! has cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
}

# Prints the newest directory with Postgres's server programs; Debian keeps them off PATH.
find_postgres_bin() {
  local candidate
  while read -r candidate; do
    if [ -n "$candidate" ] && [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ]; then
      printf '%s\n' "$candidate"
      return
    fi
  done <<<"${KMSNOTIF_TEST_POSTGRES_BIN:-}
$(printf '%s\n' /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
    /usr/pgsql-*/bin /Applications/Postgres.app/Contents/Versions/latest/bin | sort -rV)
$(dirname "$(command -v initdb || echo /none)")"
}

find_redis_server() {
  local candidate
  for candidate in "${KMSNOTIF_TEST_REDIS_SERVER:-}" redis-server /opt/homebrew/bin/redis-server \
    /usr/local/bin/redis-server valkey-server; do
    if [ -n "$candidate" ] && has "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
}

find_chromedriver() {
  local candidate
  for candidate in "${KMSNOTIF_TEST_CHROMEDRIVER:-}" chromedriver /usr/lib/chromium/chromedriver /opt/homebrew/bin/chromedriver; do
    if [ -n "$candidate" ] && has "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
}

# axe-core checks the accessibility of pages. It is not ours to hand on (MPL-2.0), so it is fetched: this wheel has it
# within, and pip holds it to this checksum.
readonly axe_wheel=axe-playwright-python==0.1.8
readonly axe_sha256=fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8
axe_file=$local_dir/axe/$axe_wheel/axe_playwright_python/axe.min.js

# Fetches axe-core once; fails where that cannot be done.
fetch_axe() {
  [ ! -s "$axe_file" ] || return 0
  has python3 || return 1
  local new=$local_dir/axe/new
  rm -rf "$local_dir/axe"
  mkdir -p "$new"
  echo "$axe_wheel --hash=sha256:$axe_sha256" >"$new/requirements.txt"
  python3 -m venv "$new/venv" &&
    "$new/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
      --target "$new/wheel" --requirement "$new/requirements.txt" &&
    mv "$new/wheel" "$local_dir/axe/$axe_wheel" || return 1
  rm -rf "$new"
}

# Prints who runs Postgres when we are root, as which Postgres refuses to run; nothing otherwise.
postgres_user() {
  [ "$(id -u)" -eq 0 ] || return 0
  if id -u postgres >/dev/null 2>&1; then echo postgres; else echo kmsnotif-postgres; fi
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    fail "needs root for: $*; install sudo or run it as root"
  fi
}

as_postgres_user() {
  local user
  user=$(postgres_user)
  if [ -z "$user" ]; then
    "$@"
  elif has runuser; then
    # From a directory that the other user can reach: Postgres returns to where it was started.
    (cd / && runuser -u "$user" -- "$@")
  else
    (cd / && sudo -u "$user" -- "$@")
  fi
}

# Runs one step and says how long it took.
step() {
  local name=$1 began=$SECONDS
  shift
  say "==> $name"
  "$@" || { local code=$?; say "==> $name: failed after $((SECONDS - began)) s"; return "$code"; }
  say "==> $name: done in $((SECONDS - began)) s"
}

started_servers=()

# Starts those private servers that no variable replaces and that do not run yet, and exports their addresses.
use_servers() {
  local server private=()
  [ -n "${DATABASE_URL:-}" ] || private+=(postgres)
  [ -n "${REDIS_URL:-}" ] || private+=(redis)
  for server in ${private[@]+"${private[@]}"}; do
    if ! "$root/script/servers" status "$server" >/dev/null 2>&1; then
      started_servers+=("$server")
      "$root/script/servers" start "$server"
    fi
  done
  if [ "${#private[@]}" -gt 0 ]; then
    local exports
    exports=$("$root/script/servers" env "${private[@]}")
    eval "$exports"
  fi
}

# Exports where server programs are, for tests that start, kill and restart servers of their own.
export_server_programs() {
  local found
  found=$(find_redis_server)
  [ -z "$found" ] || export KMSNOTIF_TEST_REDIS_SERVER="$found"
  found=$(find_postgres_bin)
  [ -z "$found" ] || export KMSNOTIF_TEST_POSTGRES_BIN="$found"
  found=$(postgres_user)
  [ -z "$found" ] || export KMSNOTIF_TEST_POSTGRES_USER="$found"
  found=$(find_chromedriver)
  [ -z "$found" ] || export KMSNOTIF_TEST_CHROMEDRIVER="$found"
  [ ! -s "$axe_file" ] || export KMSNOTIF_TEST_AXE="$axe_file"
}

# Stops what use_servers started, and nothing else.
stop_started_servers() {
  if [ "${#started_servers[@]}" -gt 0 ]; then
    "$root/script/servers" stop "${started_servers[@]}" || say "could not stop: ${started_servers[*]}"
    started_servers=()
  fi
}

# Stops what was started when the script ends, however it ends.
stop_servers_on_exit() {
  trap stop_started_servers EXIT
  # An untrapped signal would end bash without running the EXIT trap.
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# Runs a program in a process group of its own, passes signals on to it, and leaves none of the group behind.
run_and_clean_up() {
  local pid code=0
  # Job control gives the group; without it bash would also have the program ignore Ctrl-C.
  set -m
  "$@" </dev/null &
  pid=$!
  set +m
  # shellcheck disable=SC2064
  trap "kill -TERM $pid 2>/dev/null || true" INT TERM HUP
  while :; do
    code=0
    wait "$pid" || code=$?
    # wait also returns when a signal came; the program may still be stopping.
    kill -0 "$pid" 2>/dev/null || break
  done
  stop_servers_on_exit
  kill -KILL -- "-$pid" 2>/dev/null || true
  return "$code"
}

# Exports secrets for a private installation, made once and kept: what was sealed yesterday must open today.
# Secrets that are already set stay as they are.
use_local_secrets() {
  local file=$local_dir/secrets line name
  if [ ! -s "$file" ]; then
    mkdir -p "$local_dir"
    (
      umask 077
      {
        echo "KMSNOTIF_SECRET_KEYS=local:$(head -c 32 /dev/urandom | base64 | tr -d '\n')"
        for name in WHATSAPP_APP_SECRET WHATSAPP_VERIFY_TOKEN PAYMENT_WEBHOOK_SECRET; do
          echo "$name=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
        done
      } >"$file.new"
      mv "$file.new" "$file"
    )
  fi
  # Not split by read: it would take the = at the end of base64 for a separator.
  while read -r line; do
    name=${line%%=*}
    if [ -z "${!name:-}" ]; then export "$name=${line#*=}"; fi
  done <"$file"
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the range from which Linux and macOS take outgoing ones; whoever binds it finds out if we were late.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    if ! port_answers "$port"; then
      echo "$port"
      return
    fi
  done
  fail "found no free port between 20000 and 32000"
}
