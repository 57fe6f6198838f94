# Each wrong value is refused before anything is made.

mock_provider "aws" {
  override_data {
    target = data.aws_region.current
    values = { region = "eu-central-1" }
  }
}

variables {
  name                     = "strongroom-dev"
  bucket_name              = "documents-central"
  disposable               = true
  permissions_boundary_arn = "arn:aws:iam::111122223333:policy/strongroom-dev-boundary"
}

run "name_with_capitals" {
  command = plan

  variables {
    name = "Strongroom"
  }

  expect_failures = [var.name]
}

run "name_too_long_for_a_role" {
  command = plan

  variables {
    name = "a-name-that-leaves-no-room-for-region"
  }

  expect_failures = [var.name]
}

run "origin_with_a_path" {
  command = plan

  variables {
    cors_origins = ["https://app.example.com/"]
  }

  expect_failures = [var.cors_origins]
}

run "table_name_with_a_slash" {
  command = plan

  variables {
    table_name = "strongroom/dev"
  }

  expect_failures = [var.table_name]
}

run "bucket_name_with_a_dot" {
  command = plan

  variables {
    bucket_name = "documents.example.com"
  }

  expect_failures = [var.bucket_name]
}

run "bucket_name_with_capitals" {
  command = plan

  variables {
    bucket_name = "Documents"
  }

  expect_failures = [var.bucket_name]
}

run "replica_in_no_region" {
  command = plan

  variables {
    replicas = { "europe" = { bucket_name = "documents-west" } }
  }

  expect_failures = [var.replicas]
}

run "replica_in_the_own_region" {
  command = plan

  variables {
    replicas = { "eu-central-1" = { bucket_name = "documents-other" } }
  }

  expect_failures = [var.replicas]
}

run "replica_bucket_with_a_dot" {
  command = plan

  variables {
    replicas = { "eu-west-1" = { bucket_name = "documents.west" } }
  }

  expect_failures = [var.replicas]
}

run "replica_in_the_same_bucket" {
  command = plan

  variables {
    replicas = { "eu-west-1" = { bucket_name = "documents-central" } }
  }

  expect_failures = [var.replicas]
}

run "no_recovery" {
  command = plan

  variables {
    recovery_days = 0
  }

  expect_failures = [var.recovery_days]
}

run "recovery_beyond_what_there_is" {
  command = plan

  variables {
    recovery_days = 36
  }

  expect_failures = [var.recovery_days]
}

run "recovery_of_half_a_day" {
  command = plan

  variables {
    recovery_days = 1.5
  }

  expect_failures = [var.recovery_days]
}

run "objects_gone_before_the_window_ends" {
  command = plan

  variables {
    noncurrent_days = 34
  }

  expect_failures = [var.noncurrent_days]
}

run "live_uploads_ended" {
  command = plan

  variables {
    abort_upload_days = 1
  }

  expect_failures = [var.abort_upload_days]
}

run "no_reads" {
  command = plan

  variables {
    max_read_request_units = 0
  }

  expect_failures = [var.max_read_request_units]
}

run "half_a_write" {
  command = plan

  variables {
    max_write_request_units = 0.5
  }

  expect_failures = [var.max_write_request_units]
}

run "logs_of_a_region_without_a_bucket" {
  command = plan

  variables {
    access_logs = { "eu-west-1" = { bucket_name = "logs-west" } }
  }

  expect_failures = [var.access_logs]
}

run "alarms_told_elsewhere" {
  command = plan

  variables {
    alarm_topic_arns = { eu-central-1 = "arn:aws:sns:eu-west-1:111122223333:alarms" }
  }

  expect_failures = [var.alarm_topic_arns]
}

run "logs_among_documents" {
  command = plan

  variables {
    access_logs = { "eu-central-1" = { bucket_name = "documents-central" } }
  }

  expect_failures = [var.access_logs]
}

run "boundary_that_is_a_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::111122223333:role/strongroom"
  }

  expect_failures = [var.permissions_boundary_arn]
}
