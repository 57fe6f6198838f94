# `tflint --recursive --config "$PWD/.tflint.hcl"` in modules/. The rules that tflint brings with it, all of them; those for
# AWS are a plugin, which is downloaded, and what they find Terraform's provider and checkov find.
config {
  call_module_type = "none"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}
