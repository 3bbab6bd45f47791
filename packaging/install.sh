#!/bin/sh
# Installs wasm-sock from this folder, or a newer version over an older one:
#
#   ./install.sh [PREFIX]               /usr/local, unless another is given
#   ./install.sh --uninstall [PREFIX]   stops the sockets and removes it; /etc/wasm-sock, /var/lib/wasm-sock and
#                                       /var/cache/wasm-sock stay
#
# As root. Nothing is downloaded. systemd looks for units in /usr and /usr/local only.
set -eu

folder=$(cd "$(dirname "$0")" && pwd)/files
uninstall=no
if [ "${1:-}" = --uninstall ]; then
  uninstall=yes
  shift
fi
prefix=${1:-/usr/local}
case $prefix in
  /*) ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
# Before anything is changed.
refuse() {
  echo "install.sh: nothing was changed: $*" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || refuse "it has to be run by root"
systemd=no
[ ! -d /run/systemd/system ] || systemd=yes
if [ $uninstall = no ]; then
  machine=@MACHINE@
  [ "$(uname -m)" = "$machine" ] ||
    refuse "this archive is for $machine, and this machine is $(uname -m): take the one for it"
  { command -v systemd-sysusers && command -v systemd-tmpfiles; } >/dev/null ||
    refuse "there is no systemd here, which holds the sockets; the container image needs none (docs/how-to/containers.md)"
  # Its first line: systemd 252 (252.39-1~deb12u1)
  version=$(systemd-sysusers --version | sed -n '1s/^[^0-9]*\([0-9]*\).*/\1/p')
  [ "$version" -ge 252 ] || refuse "systemd has to be 252 or newer, and is $version"
  # What was damaged on its way is not installed. (Whose it is, docs/how-to/verify.md says how to check.)
  (cd "$folder" && sha256sum --check --quiet ../SHA256SUMS) >&2 ||
    refuse "this archive is damaged (see above): download and unpack it again"
fi

files() {
  (cd "$folder" && find . -type f) | sed 's|^\./||'
}

# Units by patterns; none is no mistake.
units() {
  systemctl list-units --all --plain --no-legend "$@" | sed 's/ .*//'
}

if [ $uninstall = yes ]; then
  if [ $systemd = yes ]; then
    # Sockets first: a client would start the services again.
    {
      units 'wasm-sock*.socket' 'wasm-sock*.timer'
      systemctl show --property=TriggeredBy --value 'wasm-sock.service' 'wasm-sock@*.service' | tr ' ' '\n'
    } | sort -u | sed '/^$/d' | xargs -r -d '\n' systemctl stop
    units 'wasm-sock*.service' | xargs -r -d '\n' systemctl stop
    systemctl --quiet disable wasm-sock-egress.socket 2>/dev/null || true
  fi
  files | while read -r file; do rm -f "$prefix/$file"; done
  for own in lib/wasm-sock share/wasm-sock share/doc/wasm-sock; do
    [ ! -d "$prefix/$own" ] || find "$prefix/$own" -depth -type d -empty -delete
  done
  [ $systemd = no ] || systemctl daemon-reload
  echo "wasm-sock was removed from $prefix. Yours to keep or delete: /etc/wasm-sock, /var/lib/wasm-sock," \
    "/var/cache/wasm-sock, and the users wasm-sock and wasm-sock-egress."
  exit 0
fi

files | while read -r file; do
  mode=644
  [ ! -x "$folder/$file" ] || mode=755
  case $file in
    lib/systemd/*.service)
      sed "s|/usr/local/|$prefix/|g" "$folder/$file" | install -D -m $mode /dev/stdin "$prefix/$file" ;;
    # A program that runs is not written to, but replaced.
    *) install -D -m $mode "$folder/$file" "$prefix/$file" ;;
  esac
done
systemd-sysusers "$prefix/lib/sysusers.d/wasm-sock.conf"
systemd-tmpfiles --create "$prefix/lib/tmpfiles.d/wasm-sock.conf"
if [ $systemd = yes ]; then
  systemctl daemon-reload
  # Hosts of an older version finish their connections; clients wait for the new one.
  case $prefix in
    /usr | /usr/local)
      # wasm-sock-egress ends when they have. It is told first, so that it takes none of the new version.
      systemctl try-restart wasm-sock-egress.service wasm-sock.service 'wasm-sock@*.service' ;;
    *) echo "systemd finds no units in $prefix: \`wasm-sock run\` and \`wasm-sock serve\` need none" >&2 ;;
  esac
fi
echo "wasm-sock was installed in $prefix: try \`wasm-sock help\`"
