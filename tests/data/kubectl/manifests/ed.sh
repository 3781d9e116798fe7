#!/bin/sh
sed -i 's/^  a: .*/  a: "42"/' "$1"
