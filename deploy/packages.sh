#!/bin/bash
# Installs the Debian packages that a job needs and that are missing: build; demo, fuzz, valgrind,
# bench-check or deb (which include build), test or e2e (which include demo), kernels or bench (which include test). Quick and
# without network when everything is there. Must never replace a Node.js or a JDK that came from
# somewhere else, and never start a service of a package that is wanted for its programs only. Called
# by the targets of the makefile that are named like this.
set -euo pipefail

# An entry is a package, or first|second for whichever the release has, or COMMAND:package for a
# tool that is fine from any source.
build=(gcc make libc6-dev linux-libc-dev pkg-config clang llvm bpftool
	libbpf-dev libelf-dev zlib1g-dev libevent-dev libjansson-dev libyaml-dev
	libcurl4-openssl-dev libssl-dev uthash-dev libcap-ng-dev libseccomp-dev
	'node-llhttp|libllhttp-dev' scdoc python3 openssl ca-certificates)
demo=(iproute2 curl util-linux procps liburing-dev)
tests=(iptables nftables libcmocka-dev python3-jsonschema python3-yaml openssl strace chromium
	rsyslogd:rsyslog rsyslog-openssl
	systemd dbus podman runc
	man:man-db zsh fish
	shellcheck clang-format systemd-analyze:systemd node:nodejs npm:npm javac:default-jdk-headless
	libsecret-1-0 python3-msal-extensions python3-requests python3-cryptography python3-six
	python3-typing-extensions prometheus:prometheus jq)
e2e=(systemd buildah runc dpkg-dev rsync xz-utils openssl iptables libseccomp2 python3-yaml python3-jsonschema node:nodejs npm:npm
	python3-msal-extensions python3-requests python3-cryptography python3-six
	python3-typing-extensions)
fuzz=('libclang-rt-14-dev|libclang-rt-dev') # of the release's clang
valgrind=(libcmocka-dev valgrind)
count=(valgrind binutils)
deb=(debhelper dpkg-dev lintian)
bench=(nginx)
kernels=(qemu-system-x86 'virtiofsd|qemu-system-common' busybox-static kmod)
# packages whose service must not run here, now or after the next boot
unserved=(prometheus nginx)

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

is_installed() { # PACKAGE
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

has_candidate() { # PACKAGE
	apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

is_satisfied() { # ENTRY
	local name names
	[[ $1 == *:* ]] && command -v "${1%%:*}" >/dev/null && return 0
	IFS='|' read -ra names <<<"${1##*:}"
	for name in "${names[@]}"; do
		is_installed "$name" && return 0
	done
	return 1
}

# the package to install for an entry; the first name when the release seems to have none of them
package_of() { # ENTRY
	local name names
	IFS='|' read -ra names <<<"${1##*:}"
	for name in "${names[@]}"; do
		if has_candidate "$name"; then
			echo "$name"
			return
		fi
	done
	echo "${names[0]}"
}

packages_of() { # ENTRY...
	local entry
	for entry in "$@"; do
		package_of "$entry"
	done
}

# what apt says is of interest only when it fails
try_install() { # LOG ENTRY...
	local log=$1 packages
	shift
	mapfile -t packages < <(packages_of "$@")
	apt_get install -y --no-install-recommends "${packages[@]}" >"$log" 2>&1
}

# The mask is for systemd, the policy for everything that a package's scripts may start.
hold_services() { # ENTRY...
	local name
	for name in "${unserved[@]}"; do
		[[ " ${*##*:} " == *" $name "* ]] || continue
		if [ ! -e "/etc/systemd/system/$name.service" ]; then
			echo "packages: $name is wanted for its programs; its service is masked"
			mkdir -p /etc/systemd/system
			ln -sf /dev/null "/etc/systemd/system/$name.service"
		fi
		if [ ! -e /usr/sbin/policy-rc.d ]; then
			printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
			chmod 0755 /usr/sbin/policy-rc.d
			trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		fi
	done
}

install() { # ENTRY...
	local log
	hold_services "$@"
	log=$(mktemp)
	# the package lists may be absent (a fresh container) or name versions that are gone
	if ! try_install "$log" "$@"; then
		echo "packages: updating the package lists first"
		apt_get update
		if ! try_install "$log" "$@"; then
			cat "$log" >&2
			rm -f "$log"
			echo "packages: apt-get failed, see above" >&2
			return 1
		fi
	fi
	rm -f "$log"
}

case "${1-}" in
build) wanted=("${build[@]}") ;;
demo) wanted=("${build[@]}" "${demo[@]}") ;;
test) wanted=("${build[@]}" "${demo[@]}" "${tests[@]}" "${deb[@]}") ;;
e2e) wanted=("${build[@]}" "${demo[@]}" "${e2e[@]}") ;;
fuzz) wanted=("${build[@]}" "${fuzz[@]}") ;;
deb) wanted=("${build[@]}" "${deb[@]}") ;;
bench-check) wanted=("${build[@]}" "${count[@]}") ;;
valgrind) wanted=("${build[@]}" "${valgrind[@]}") ;;
bench) wanted=("${build[@]}" "${demo[@]}" "${tests[@]}" "${deb[@]}" "${bench[@]}") ;;
kernels) wanted=("${build[@]}" "${demo[@]}" "${tests[@]}" "${kernels[@]}") ;;
*)
	echo "usage: $0 build|demo|test|e2e|bench|fuzz|valgrind|bench-check|kernels|deb" >&2
	exit 2
	;;
esac

missing=()
for entry in "${wanted[@]}"; do
	is_satisfied "$entry" || missing+=("$entry")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "packages: everything for $1 is installed"
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "packages: this is not Debian; install what provides: ${missing[*]}" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	mapfile -t packages < <(packages_of "${missing[@]}")
	echo "packages: not root, so install these yourself:" >&2
	echo "    sudo apt-get install -y --no-install-recommends ${packages[*]}" >&2
	exit 1
fi
echo "packages: installing ${missing[*]##*:}"
install "${missing[@]}"
for entry in "${missing[@]}"; do
	if ! is_satisfied "$entry"; then
		echo "packages: ${entry##*:} is still missing" >&2
		exit 1
	fi
done
