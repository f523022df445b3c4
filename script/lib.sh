# shellcheck shell=bash
# What the scripts here share: packages, a private PostgreSQL, throwaway
# clusters.  Sourced, not run.
#
# A private PostgreSQL is a copy of the programs with links to everything
# else.  PostgreSQL finds its files relative to its programs, so an extension
# installed there is seen by the servers started from there and by nobody
# else: the system's PostgreSQL and its clusters are never touched.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_major=${PG_MAJOR:-15}

# The caller's own PostgreSQL settings must not lead us to his servers, nor
# his language into messages that are compared.
unset "${!PG@}" MAKEFLAGS MAKELEVEL COPT
export LC_ALL=C.UTF-8

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$1" >&2
	exit 1
}

# Run as the user that PostgreSQL runs as: root cannot run it.
as_pg()
{
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
	else
		"$@"
	fi
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# wait_until SECONDS COMMAND…: try the command until it succeeds.
wait_until()
{
	local deadline=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep .05
	done
}

##############################################################################
# Packages
##############################################################################

# What building and running needs; script/test adds its tools.
build_packages=(gcc libc6-dev libssl-dev make openssl "postgresql-$pg_major" "postgresql-server-dev-$pg_major")

# need_packages LOG PACKAGE…: install what is missing.
need_packages()
{
	local log=$1 package
	local -a missing=()

	shift
	if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
		die "this system has no apt-get, so nothing was installed.
Run it on Debian or Ubuntu (a container will do); it needs what these Debian packages hold:
  $*"
	fi
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = 'install ok installed' ] || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "packages are missing, and there is no sudo to install them.  As root:
  apt-get install ${missing[*]}"
	fi
	echo "Installing ${missing[*]} …"
	install_packages "${missing[@]}" >>"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "apt-get could not install ${missing[*]}"
	}
}

# Debian creates a cluster with the first server package of a major, and starts
# it, as it starts what else is a service.  Nobody asked for those here: settings
# that last as long as the installation prevent it.
install_packages()
(
	folder=/etc/postgresql-common/createcluster.d
	setting=$folder/momento_billing-install.conf
	policy=/usr/sbin/policy-rc.d
	undo="rm -f $setting"

	[ -d $folder ] || undo="$undo; rmdir $folder"
	[ -e $policy ] || undo="$undo; rm -f $policy"
	trap 'as_root sh -c "$undo"' EXIT
	as_root mkdir -p $folder
	echo 'create_main_cluster = false' | as_root tee $setting >/dev/null
	[ -e $policy ] || printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin $policy
	as_root apt-get update || exit
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
)

##############################################################################
# The private PostgreSQL
##############################################################################

# make_work_folder FOLDER: the source as it is now and a private PostgreSQL,
# in a folder of the PostgreSQL user: he may not be able to read where the
# source is, and building must leave nothing there.  Sets src, bin, PG_CONFIG.
make_work_folder()
{
	local work=$1 name folder
	local system=/usr/lib/postgresql/$pg_major/bin/pg_config

	[ -x "$system" ] || die "there is no PostgreSQL $pg_major: $system is missing"

	src=$work/src
	as_pg mkdir "$src"
	tar -C "$root" --exclude=./.git --exclude=node_modules \
		--exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - . | as_pg tar -C "$src" -xf -

	for name in bindir pkglibdir sharedir; do
		folder=$("$system" --$name)
		as_pg mkdir -p "$work/postgresql$folder"
		if [ $name = bindir ]; then
			bin=$work/postgresql$folder
			as_pg cp -P "$folder"/* "$bin"
		else
			as_pg cp -rs "$folder/." "$work/postgresql$folder"
		fi
	done
	folder=$("$system" --includedir)
	as_pg mkdir -p "$work/postgresql$(dirname "$folder")"
	as_pg ln -s "$folder" "$work/postgresql$folder"

	# A momento_billing of the system's must not be found in place of ours.
	as_pg rm -rf "$("$bin/pg_config" --pkglibdir)"/momento_billing.so \
		"$("$bin/pg_config" --pkglibdir)"/bitcode/momento_billing* \
		"$("$bin/pg_config" --sharedir)"/extension/momento_billing*
	export PG_CONFIG=$bin/pg_config
}

# Build the source of the work folder and install it into its PostgreSQL.
build_and_install()
{
	as_pg make -C "$src" -s -j2 with_llvm=no PG_CONFIG="$PG_CONFIG" all install
}

# start_by COMMAND: pg_ctl of the private PostgreSQL starts its servers by
# "COMMAND server arguments".
start_by()
{
	as_pg tee "$bin/postgres.by" >/dev/null <<-SH
		#!/bin/sh
		exec $1 "$bin/postgres" "\$@"
	SH
	as_pg mv "$bin/pg_ctl" "$bin/pg_ctl.bare"
	as_pg tee "$bin/pg_ctl" >/dev/null <<-SH
		#!/bin/sh
		case " \$* " in
			*' start '* | *' restart '*) set -- "\$@" -p "$bin/postgres.by" ;;
		esac
		exec "$bin/pg_ctl.bare" "\$@"
	SH
	as_pg chmod +x "$bin/postgres.by" "$bin/pg_ctl"
}

##############################################################################
# Throwaway clusters
##############################################################################

# start_cluster FOLDER DATABASE…: a new cluster with its data, socket and log
# in the folder, reached by its unix socket alone.  Settings on standard
# input; they come into force once the databases exist, so that a worker finds
# its own.  Everybody who gets through the folder's permissions is trusted.
start_cluster()
{
	local folder=$1 database

	shift
	as_pg mkdir -p "$folder/socket" || return
	as_pg "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 \
		--no-sync >"$folder/initdb.log" || return
	as_pg tee -a "$folder/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$folder/socket'
		fsync = off
	CONF
	pg_ctl "$folder" start || return
	for database in "$@"; do
		"$bin/createdb" -h "$folder/socket" -U postgres "$database" || return
	done
	as_pg tee -a "$folder/data/postgresql.conf" >/dev/null
	pg_ctl "$folder" restart
}

# pg_ctl FOLDER ACTION, and the wait for its end.
pg_ctl()
{
	as_pg "$bin/pg_ctl" -D "$1/data" -l "$1/server.log" -s -w -t 60 -m fast "$2" </dev/null
}

# stop_cluster FOLDER: if it runs.  A pid file may outlive its server and its
# number may be another process's by now: the process must work in our data.
stop_cluster()
{
	local data=$1/data pid

	pid=$(as_pg head -n 1 "$data/postmaster.pid" 2>/dev/null) || return 0
	[ "$(as_pg readlink "/proc/$pid/cwd")" = "$(readlink -f "$data")" ] || return 0
	pg_ctl "$1" stop
}
