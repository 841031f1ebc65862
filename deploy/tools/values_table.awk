# The table of the chart's values for its README, from values.yaml: a value that is told of has a comment "# -- …" above it.
# What stands below a value on lines of its own is shown as "see values.yaml".
function row() {
  if (told == "") return
  printf "| `%s` | %s | %s |\n", path, shown == "" ? "see [values.yaml](values.yaml)" : "`" shown "`", told
  told = ""
}
BEGIN { print "| value | default | meaning |"; print "| --- | --- | --- |" }
/^ *# -- / { sub(/^ *# -- /, ""); told = $0; next }
/^ *[A-Za-z]+:/ {
  match($0, /^ */); depth = RLENGTH / 2
  key[depth] = $1; sub(/:$/, "", key[depth])
  path = key[0]; for (i = 1; i <= depth; i++) path = path "." key[i]
  shown = $0; sub(/^ *[A-Za-z]+: */, "", shown)
  row()
}
