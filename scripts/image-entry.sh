#!/bin/sh
# What the image's init starts: the command line of webapi-plugin-host, under the Node of the path. Where that Node knows
# how, a SIGUSR1 is kept from opening its debugger even before the first statement of the program; an older one would
# refuse the flag, so it is asked first. Nothing stays between the init and Node.
trap '' HUP USR1 USR2
flag=--disable-sigusr1
node "$flag" --version >/dev/null 2>&1 || flag=
# Calls that wait while much comes at once are to end in the young generation (docs/operations.md). A flag here would go
# before what the operator says of it.
young=--max-semi-space-size=64
case "$NODE_OPTIONS" in *--max[-_]semi[-_]space[-_]size*) young= ;; esac
exec node $flag $young "${0%/*}/dist/src/main.js" "$@"
