#!/bin/sh
# Make the system tables in an empty data directory, then become the server. root logs in over the
# socket, so no password is needed: docker exec NAME mariadb -e '...'
set -eu
data=/var/lib/mysql
if [ ! -d "$data/mysql" ]; then
    mariadb-install-db --user=mysql --datadir="$data" --skip-test-db \
        --auth-root-authentication-method=socket >/dev/null
fi
exec mariadbd --user=mysql --datadir="$data" --socket=/run/mysqld/mysqld.sock --skip-networking "$@"
