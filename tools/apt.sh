# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# shellcheck shell=bash
#
# Packages of another Debian release than the machine's, without touching the machine's own sources: a sources list, a
# directory of package lists and a keyring in the cache directory, used by explicit options. Sourced by tools/setup and
# tools/kernels.
#
# Environment:
#   REPRIEVE_CACHE            cache directory, default /var/cache/reprieve
#   REPRIEVE_DEBIAN_MIRROR    a Debian mirror; default: the one the machine's own sources name (Debian only)
#   REPRIEVE_DEBIAN_SECURITY  the same for security updates; default: the machine's own, else the mirror's name with
#                             "-security" behind it

REPRIEVE_CACHE=${REPRIEVE_CACHE:-/var/cache/reprieve}
PROGRAM=${0##*/}

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }
die() { say "$*"; exit 1; }

# os_release KEY: one value of /etc/os-release, empty when it is not there.
os_release() { (. /etc/os-release && eval "printf '%s' \"\${$1-}\""); }

# retry COMMAND...: three attempts; a mirror in the middle of its own update answers rightly some seconds later.
retry()
{
	local attempt

	for attempt in 1 2 3; do
		"$@" && return 0
		[ "$attempt" = 3 ] || sleep $((attempt * 3))
	done
	return 1
}

# configured_mirror SUITE: address of the repository from which this machine gets SUITE. apt itself reads its sources,
# so one-line and deb822 files are both understood.
configured_mirror()
{
	# shellcheck disable=SC2016 # apt's own placeholders
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		awk -v suite="$1" '$1 == suite && !found++ { sub("/$", "", $2); print $2 }'
}

debian_mirror()
{
	local mirror=${REPRIEVE_DEBIAN_MIRROR-}

	if [ -z "$mirror" ] && [ "$(os_release ID)" = debian ]; then
		mirror=$(configured_mirror "$(os_release VERSION_CODENAME)")
	fi
	[ -n "$mirror" ] ||
		die "no Debian mirror in this machine's package sources: set REPRIEVE_DEBIAN_MIRROR to one's address"
	printf '%s' "${mirror%/}"
}

debian_security_mirror()
{
	local mirror=${REPRIEVE_DEBIAN_SECURITY-}

	if [ -z "$mirror" ] && [ -z "${REPRIEVE_DEBIAN_MIRROR-}" ]; then
		mirror=$(configured_mirror "$(os_release VERSION_CODENAME)-security")
	fi
	if [ -z "$mirror" ]; then
		mirror=$(debian_mirror) || return 1
		mirror+=-security
	fi
	printf '%s' "${mirror%/}"
}

# private_keyring: the newest keyring at hand; keyring_refresh may have put one in the cache.
private_keyring()
{
	local keyring

	for keyring in "$REPRIEVE_CACHE"/keyring.gpg /usr/share/keyrings/debian-archive-keyring.gpg; do
		[ -s "$keyring" ] && { printf '%s' "$keyring"; return 0; }
	done
	die "no keyring for Debian's archive: apt-get install debian-archive-keyring"
}

# private_sources DIR SUITE...: a sources list with these suites in DIR; *-security comes from the security mirror.
private_sources()
{
	local dir=$1 suite mirror keyring

	shift
	keyring=$(private_keyring) || return 1
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	: >"$dir/sources.list"
	[ -e "$dir/preferences" ] || : >"$dir/preferences"
	for suite in "$@"; do
		case $suite in
		*-security) mirror=$(debian_security_mirror) || return 1 ;;
		*) mirror=$(debian_mirror) || return 1 ;;
		esac
		echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main" >>"$dir/sources.list"
	done
}

# private_apt TOOL DIR ARGUMENT...: apt-get or apt-cache that knows the sources in DIR and no others.
# No sandbox user, because the cache directory need not be readable for _apt. Release files of suites that no longer
# get updates expire: their signature is still checked, only their age is not.
private_apt()
{
	local tool=$1 dir=$2

	shift 2
	"$tool" -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences="$dir/preferences" -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State::lists="$dir/lists" -o Dir::Cache::archives="$dir/archives" \
		-o Dir::Cache::pkgcache="$dir/pkgcache.bin" -o Dir::Cache::srcpkgcache= -o Acquire::GzipIndexes=false \
		-o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root "$@"
}

# keyring_refresh: a newer release is signed with keys that an older keyring lacks. The keyring package of a suite
# that this machine can verify has them, so the chain of trust is kept and no source is ever marked as trusted.
keyring_refresh()
{
	local dir suite

	rm -f "$REPRIEVE_CACHE/keyring.gpg"
	dir=$(mktemp -d)
	for suite in sid trixie bookworm "$(os_release VERSION_CODENAME)"; do
		# shellcheck disable=SC2015 # any of them may fail: then the next suite
		private_sources "$dir" "$suite" && private_apt apt-get "$dir" -qq update 2>/dev/null &&
			(cd "$dir" && private_apt apt-get "$dir" -qq download debian-archive-keyring) 2>/dev/null &&
			dpkg-deb -x "$dir"/debian-archive-keyring_*.deb "$dir/root" || continue
		install -D -m 644 "$(realpath "$dir/root/usr/share/keyrings/debian-archive-keyring.gpg")" \
			"$REPRIEVE_CACHE/keyring.gpg"
		break
	done
	rm -rf "$dir"
}

# private_update DIR SUITE...: sources as above with fresh package lists; with --error-on=any a missing suite or a bad
# signature is an error, not a warning.
private_update()
{
	local dir=$1 log

	log=$dir.log
	private_sources "$@" || return 1
	retry private_apt apt-get "$dir" -qq update --error-on=any 2>"$log" && { rm -f "$log"; return 0; }
	if grep -q -E 'NO_PUBKEY|EXPKEYSIG' "$log"; then
		keyring_refresh
		private_sources "$@"
		private_apt apt-get "$dir" -qq update --error-on=any 2>"$log" && { rm -f "$log"; return 0; }
	fi
	sort -u "$log" >&2
	rm -f "$log"
	return 1
}
