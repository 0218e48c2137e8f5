#!/bin/sh
# Takes the certificate that was mounted, or makes one, so that the edge can be tried without.
set -eu
mkdir -p /tmp/tls
if [ -e /etc/nginx/tls/fullchain.pem ]; then
  ln -sf /etc/nginx/tls/fullchain.pem /etc/nginx/tls/privkey.pem /tmp/tls
else
  echo "no certificate in /etc/nginx/tls: this one is signed by nobody"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 365 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout /tmp/tls/privkey.pem -out /tmp/tls/fullchain.pem 2>/dev/null
fi
