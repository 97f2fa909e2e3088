"""nginx as one plain reverse-proxy hop, kept connections on both sides, nothing buffered."""

from stage import System, free_port

NEEDS = ["nginx"]

CONFIGURATION = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/{name}-fastcgi; uwsgi_temp_path {folder}/{name}-uwsgi; scgi_temp_path {folder}/{name}-scgi;
  keepalive_requests 100000000;
  upstream models {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port}{tls};
    location / {{
      proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""


def start(stage, path, name="nginx", tls="", ca=None, upstream=None):
    port, upstream = free_port(), upstream or path(stage.upstream, is_upstream=True)
    text = CONFIGURATION.format(folder=stage.folder, name=name, upstream=upstream, port=port, tls=tls)
    return System(name, port, [stage.spawn("nginx", "-c", stage.write(f"{name}.conf", text))], ca=ca)
