#!/bin/sh
# The functions by which init scripts tell procd what to run. Each instance becomes a folder with a file per parameter,
# below /run/procd/services/SERVICE; /lib/procd/keeper runs it.
procd_at=/run/procd

# One at a time for a service. Whoever holds it says so by its process, so that none is left behind.
procd_lock() {
  mkdir -p $procd_at/lock
  procd_mine=$procd_at/lock/$(service_name)
  until ln -s $$ "$procd_mine" 2>/dev/null; do
    procd_holder=$(readlink "$procd_mine")
    [ "$procd_holder" != $$ ] || return 0
    kill -0 "${procd_holder:-$$}" 2>/dev/null || rm -f "$procd_mine"
    usleep 50000
  done
  trap 'rm -f "$procd_mine"' EXIT
}

procd_begin() { # SERVICE
  procd_new=$procd_at/new/$1 procd_count=0
  rm -rf "$procd_new" "$procd_at/triggers/$1.new"
  mkdir -p "$procd_new" $procd_at/triggers
}

procd_open_instance() { # [NAME]
  procd_count=$((procd_count + 1))
  procd_instance=$procd_new/${1:-instance$procd_count}
  mkdir -p "$procd_instance"
}

procd_set_param() { # NAME VALUE...
  procd_param=$1
  shift
  : >"$procd_instance/$procd_param"
  procd_append_param "$procd_param" "$@"
}

procd_append_param() { # NAME VALUE...
  procd_param=$1
  shift
  for procd_value; do printf '%s\n' "$procd_value" >>"$procd_instance/$procd_param"; done
}

procd_close_instance() {
  [ -s "$procd_instance/command" ] || rm -rf "$procd_instance"
  [ ! -s "$procd_instance/file" ] || procd_sums "$procd_instance/file" >"$procd_instance/file.sums"
}

procd_sums() { # LIST
  while read -r procd_file; do
    md5sum "$procd_file" 2>/dev/null || echo "no $procd_file"
  done <"$1"
}

# Makes true what the script said: starts what is new, lets alone what is as it was, ends what is gone. What has changed
# gets its reload_signal, if it has one, else it is started again.
procd_commit() { # SERVICE
  procd_old=$procd_at/services/$1
  [ ! -e "$procd_at/triggers/$1.new" ] || mv "$procd_at/triggers/$1.new" "$procd_at/triggers/$1"
  for procd_each in "$procd_old"/*; do
    procd_name=${procd_each##*/}
    [ ! -d "$procd_each" ] || [ -d "$procd_new/$procd_name" ] || procd_end "$procd_each"
  done
  for procd_each in "$procd_new"/*; do
    [ -d "$procd_each" ] || continue
    mkdir -p "$procd_old"
    procd_put "$1" "${procd_each##*/}"
  done
  [ -d "$procd_old" ]
}

procd_put() { # SERVICE INSTANCE
  procd_is=$procd_old/$2
  if ! procd_kept "$procd_is"; then
    rm -rf "$procd_is"
    mv "$procd_new/$2" "$procd_is"
    setsid /lib/procd/keeper "$1" "$2" </dev/null >/dev/null 2>&1 &
    # procd has started it when it answers.
    procd_left=200
    until [ -s "$procd_is/pid" ] || [ $procd_left = 0 ]; do
      usleep 50000
      procd_left=$((procd_left - 1))
    done
    return
  fi
  mkdir -p "$procd_is"
  procd_changed=
  for procd_file in command env file file.sums limits nice user group; do
    cmp -s "$procd_is/$procd_file" "$procd_new/$2/$procd_file" ||
      { [ ! -e "$procd_is/$procd_file" ] && [ ! -e "$procd_new/$2/$procd_file" ]; } || procd_changed=1
  done
  [ -n "$procd_changed" ] || return 0
  for procd_file in "$procd_new/$2"/*; do cp "$procd_file" "$procd_is"; done
  if [ -s "$procd_is/reload_signal" ]; then
    kill -s "$(cat "$procd_is/reload_signal")" "$(cat "$procd_is/pid")"
  else
    kill -HUP "$(cat "$procd_is/keeper")"
  fi
}

procd_kept() { # FOLDER: whether a keeper runs it
  procd_pid=$(cat "$1/keeper" 2>/dev/null)
  [ -n "$procd_pid" ] && kill -0 "$procd_pid" 2>/dev/null
}

procd_end() { # FOLDER: returns when its process is gone
  procd_kept "$1" || { rm -rf "$1" && return; }
  kill -TERM "$(cat "$1/keeper")"
  while procd_kept "$1"; do usleep 100000; done
  rm -rf "$1"
}

procd_kill() { # SERVICE [INSTANCE]
  for procd_each in "$procd_at/services/$1/${2:-}"*; do
    [ ! -d "$procd_each" ] || procd_end "$procd_each"
  done
  rm -f "$procd_at/triggers/$1"
  rmdir "$procd_at/services/$1" 2>/dev/null
  return 0
}

procd_running() { # SERVICE [INSTANCE]
  for procd_each in "$procd_at/services/$1"/*; do
    [ -z "${2:-}" ] || [ "$2" = '*' ] || [ "${procd_each##*/}" = "$2" ] || continue
    [ -s "$procd_each/pid" ] && kill -0 "$(cat "$procd_each/pid")" 2>/dev/null && return 0
  done
  return 1
}

procd_send_signal() { # SERVICE [INSTANCE [SIGNAL]]
  procd_sent=1
  for procd_each in "$procd_at/services/$1"/*; do
    [ -z "${2:-}" ] || [ "$2" = '*' ] || [ "${procd_each##*/}" = "$2" ] || continue
    [ -s "$procd_each/pid" ] && kill -s "${3:-HUP}" "$(cat "$procd_each/pid")" && procd_sent=0
  done
  return $procd_sent
}

# ---- triggers: lines `EVENT ARGUMENT COMMAND...`, which /lib/procd/event reads; `-` is no argument

# shellcheck disable=SC2154 # rc.common sets initscript
procd_add_reload_trigger() { # PACKAGE...
  for procd_value; do
    echo "config.change $procd_value $initscript reload" >>"$procd_at/triggers/$(service_name).new"
  done
}

procd_add_config_trigger() { # EVENT PACKAGE COMMAND...
  echo "$*" >>"$procd_at/triggers/$(service_name).new"
}

procd_add_interface_trigger() { # EVENT INTERFACE COMMAND...
  echo "$*" >>"$procd_at/triggers/$(service_name).new"
}

procd_open_trigger() { :; }
procd_close_trigger() { :; }
procd_open_validate() { :; }
procd_close_validate() { :; }
