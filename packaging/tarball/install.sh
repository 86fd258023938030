#!/bin/sh
# Puts kubeedge and its names keadm, edgecore and cloudcore into a folder of programs; `./install.sh --help` is its manual.
set -eu

usage() {
	cat <<'END'
Installs the executable `kubeedge` that lies beside this script, with links for the names it answers to.
Nothing is downloaded, started or configured; /etc/kubeedge is never touched. A running edgecore goes on with the
old executable until it is restarted.

usage: ./install.sh [--prefix FOLDER] [--root FOLDER] [--uninstall]

  --prefix FOLDER   programs go into FOLDER/bin: /usr/local if not said
  --root FOLDER     goes before that: the root of an image that is being made
  --uninstall       removes the executable and its links, and nothing else
END
}

main() {
	prefix=/usr/local root='' action=install
	while [ $# -gt 0 ]; do
		case $1 in
		--prefix | --root)
			[ $# -ge 2 ] || die "$1 needs a folder" 64
			if [ "$1" = --root ]; then root=${2%/}; else prefix=${2%/}; fi
			shift
			;;
		--prefix=*) prefix=${1#*=} && prefix=${prefix%/} ;;
		--root=*) root=${1#*=} && root=${root%/} ;;
		--uninstall) action=uninstall ;;
		--help | -h) usage && exit ;;
		*) die "unknown option $1: see --help" 64 ;;
		esac
		shift
	done
	case $prefix in /* | '') ;; *) die "--prefix must start with a slash: $prefix" 64 ;; esac
	bin=$root$prefix/bin
	$action
}

install() {
	source=$(dirname "$0")/kubeedge
	[ -f "$source" ] || die "there is no $source: unpack the whole archive"
	if [ -z "$root" ]; then
		"$source" version >/dev/null 2>&1 ||
			die "$source does not run on this machine ($(uname -m)): take the archive that is made for it"
	fi
	for name in $NAMES; do
		[ -L "$bin/$name" ] || [ ! -e "$bin/$name" ] ||
			die "$bin/$name is another program: move it away, or take another --prefix" 73
	done
	mkdir -p "$bin" || die "can't make $bin: run this as root, or with another --prefix" 77
	# Whole or not at all, also when it runs, and when the power goes: a name may reach the disk before the content.
	trap 'rm -f "$bin/.kubeedge.new"' EXIT
	cp "$source" "$bin/.kubeedge.new" || die "can't write to $bin: is there room for it, and are you root?" 77
	chmod 755 "$bin/.kubeedge.new"
	sync
	mv -f "$bin/.kubeedge.new" "$bin/kubeedge"
	for name in $NAMES; do ln -sfn kubeedge "$bin/$name"; done
	sync
	echo "installed $bin/kubeedge with its links"
	[ -n "$root" ] || next
}

next() {
	if [ -e /etc/kubeedge/config/edgecore.yaml ]; then
		echo "next: $prefix/bin/keadm service restart"
	else
		echo "next: $prefix/bin/keadm join --cloudcore-ipport HOST:10000 --token-file FILE"
	fi
}

uninstall() {
	for name in keadm edgecore cloudcore; do
		[ "$(readlink "$bin/$name" || true)" != kubeedge ] || rm -f "$bin/$name"
	done
	rm -f "$bin/kubeedge"
	echo "removed kubeedge from $bin; /etc/kubeedge is as it was (\`keadm reset\` before this would have cleared it)"
}

die() {
	echo "install: $1" >&2
	exit "${2:-1}"
}

# One for devices only has no cloudcore.
NAMES='cloudcore edgecore keadm'

main "$@"
