#!/bin/sh
# Reads /etc/config for init scripts: sections `config TYPE 'NAME'`, with `option KEY 'VALUE'` and `list KEY 'VALUE'`.
# What was read is in variables UCI_SECTION_KEY; UCI_SECTIONS lists the names.

config_load() { # PACKAGE
  UCI_SECTIONS='' uci_section='' uci_unnamed=0
  [ -r "/etc/config/$1" ] || return 1
  while read -r uci_word uci_key uci_value; do
    uci_key=$(uci_bare "$uci_key") uci_value=$(uci_bare "$uci_value")
    case $uci_word in
      config)
        [ -n "$uci_value" ] || { uci_value=cfg$uci_unnamed && uci_unnamed=$((uci_unnamed + 1)); }
        uci_section=$uci_value
        UCI_SECTIONS="$UCI_SECTIONS $uci_section"
        uci_put "$uci_section" TYPE "$uci_key"
        ;;
      option) uci_put "$uci_section" "$uci_key" "$uci_value" ;;
      list)
        config_get uci_before "$uci_section" "$uci_key"
        uci_put "$uci_section" "$uci_key" "${uci_before:+$uci_before }$uci_value"
        ;;
    esac
  done <"/etc/config/$1"
}

config_get() { # VARIABLE SECTION KEY [DEFAULT]
  eval "uci_found=\${UCI_$(uci_name "$2")_$(uci_name "$3")-}"
  # shellcheck disable=SC2154 # eval sets it
  [ -n "$uci_found" ] || uci_found=${4-}
  eval "$1=\$uci_found"
}

config_get_bool() { # VARIABLE SECTION KEY [DEFAULT]
  config_get "$1" "$2" "$3" "${4-}"
  eval "uci_found=\$$1"
  case $uci_found in
    1 | on | true | yes | enabled) eval "$1=1" ;;
    0 | off | false | no | disabled) eval "$1=0" ;;
    *) eval "$1=\${4-}" ;;
  esac
}

config_foreach() { # FUNCTION [TYPE]
  for uci_each in $UCI_SECTIONS; do
    config_get uci_type "$uci_each" TYPE
    # shellcheck disable=SC2154 # config_get sets it
    if [ -z "${2-}" ] || [ "$uci_type" = "$2" ]; then "$1" "$uci_each"; fi
  done
}

config_list_foreach() { # SECTION KEY FUNCTION
  config_get uci_list "$1" "$2"
  # shellcheck disable=SC2154 # config_get sets it
  for uci_item in $uci_list; do "$3" "$uci_item"; done
}

uci_put() { # SECTION KEY VALUE
  # shellcheck disable=SC2034 # eval reads it
  uci_kept=$3
  eval "UCI_$(uci_name "$1")_$(uci_name "$2")=\$uci_kept"
}

uci_name() { printf '%s' "$1" | tr -c 'A-Za-z0-9' _; }

uci_bare() { # a word or text, without its quotes
  uci_text=$1
  case $uci_text in
    \'*\') uci_text=${uci_text#\'} && uci_text=${uci_text%\'} ;;
    \"*\") uci_text=${uci_text#\"} && uci_text=${uci_text%\"} ;;
  esac
  printf '%s' "$uci_text"
}

# ---- what the scripts of packages call

default_postinst() { # SCRIPT ARGUMENT...: enables and starts the services of the package
  if [ "${PKG_UPGRADE:-}" = 1 ]; then default_each "$1" start; else default_each "$1" enable start; fi
}

default_prerm() { # SCRIPT ARGUMENT...
  if [ "${PKG_UPGRADE:-}" = 1 ]; then default_each "$1" stop; else default_each "$1" disable stop; fi
}

default_each() { # SCRIPT ACTION...
  default_script=$1
  shift
  grep '^/etc/init.d/' "${default_script%.*}.list" | while read -r default_service; do
    for default_action; do "$default_service" "$default_action" </dev/null; done
  done
  return 0
}
