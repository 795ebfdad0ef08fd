#!/bin/sh
# The shop's own tests; the image is not built when one fails.
set -eu
fail() { echo "FAILED: $1" >&2; exit 1; }

./shop search tea | grep -q 'tea' || fail 'tea is found'
./shop search choclate | grep -q 'chocolate' || fail 'a missing letter is forgiven'
test -z "$(./shop search zzzz)" || fail 'what we do not sell is not found'
test "$(./shop together 5 | wc -l)" -eq 3 || fail 'three recommendations'
test "$(./shop report | wc -l)" -eq 41 || fail 'a line for each product and a heading'
gzip -t share/orders.csv.gz || fail 'the orders are whole'
echo 'all tests passed'
