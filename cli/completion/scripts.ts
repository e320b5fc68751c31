/** Shells that can be taught. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * What a shell loads. It asks `homecloud complete -- WORDS…` for each word: lines of value, tab, description; `:files` where
 * names of files fit as well, `:open` where more belongs to the word.
 *
 * Written here, because no library that was looked at completes `REPO:TAG` in bash: readline takes what follows the colon
 * for a word of its own. Each of them also hands what was typed to `eval` (@bomb.sh/tab 0.0.22, @pnpm/tabtab 0.5.4), or
 * needs the package bash-completion.
 */
export function completionScript(shell: Shell, program: string): string {
  return { bash, zsh, fish }[shell](`'${program.replaceAll("'", "'\\''")}'`);
}

/** From bash 3.2 on, which macOS has. */
const bash = (program: string) => `# homecloud for bash: eval "$(homecloud completion bash)" in ~/.bashrc
_homecloud() {
  local line=\${COMP_LINE:0:COMP_POINT} answer current cut=
  local -a words
  read -r -a words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  current=\${words[\${#words[@]}-1]}
  # What bash takes for the word begins after these.
  [[ $COMP_WORDBREAKS == *:* && $current == *:* ]] && cut=\${current%"\${current##*:}"}
  [[ $COMP_WORDBREAKS == *=* && $current == *=* && $cut != *=* ]] && cut=\${current%"\${current##*=}"}
  COMPREPLY=()
  while IFS= read -r answer; do
    case $answer in
      :open) compopt -o nospace 2>/dev/null ;;
      :files) compopt -o default 2>/dev/null ;;
      *)
        answer=\${answer%%$'\\t'*}
        COMPREPLY+=("\${answer#"$cut"}")
        ;;
    esac
  done < <(${program} complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _homecloud homecloud
`;

const zsh = (program: string) => `#compdef homecloud
# homecloud for zsh: source <(homecloud completion zsh) in ~/.zshrc after compinit, or as _homecloud in a folder of $fpath
_homecloud() {
  local answer files
  local -a found given space
  given=("\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}")
  while IFS= read -r answer; do
    case $answer in
      :open) space=(-S '') ;;
      :files) files=1 ;;
      *) found+=("\${\${answer%%$'\\t'*}//:/\\\\:}:\${answer#*$'\\t'}") ;;
    esac
  done < <(${program} complete -- "\${given[@]}" 2>/dev/null)
  (( \${#found} )) && _describe homecloud found "\${space[@]}"
  [[ -n $files ]] && _files
}
if [[ \${funcstack[1]} == _homecloud ]]; then _homecloud "$@"; else compdef _homecloud homecloud; fi
`;

const fish = (
  program: string,
) => `# homecloud for fish: homecloud completion fish > ~/.config/fish/completions/homecloud.fish
function __homecloud_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for answer in (${program} complete -- $words[2..-1] "$current" 2>/dev/null)
        switch $answer
            case ':open'
            case ':files'
                __fish_complete_path "$current"
            case '*'
                echo $answer
        end
    end
end
complete -c homecloud -f -a '(__homecloud_complete)'
`;
