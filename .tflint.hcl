# `tflint --chdir=modules --recursive --config "$PWD/.tflint.hcl"`. The rules that tflint brings with
# it, all of them; those for AWS are a plugin that is downloaded, and what they find the provider and
# checkov find.
config {
  call_module_type = "none"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}
