#!/bin/sh
# Put the system tables into an empty data directory, then become the server. They were made with the
# image: on storage with slow syncs making them takes minutes, copying them seconds. A copy that was
# cut off is made again. root logs in over the socket, so no password is needed:
# docker exec NAME mariadb -e '...'
set -eu
data=/var/lib/mysql
if [ ! -d "$data/mysql" ]; then
    rm -rf "$data/mysql.new"
    cp -a /usr/share/mariadb-fresh/. "$data/"
    sync -f "$data"
    mv "$data/mysql.new" "$data/mysql"
fi
exec mariadbd --user=mysql --datadir="$data" --socket=/run/mysqld/mysqld.sock --skip-networking \
    --innodb-log-file-size=16M "$@"
