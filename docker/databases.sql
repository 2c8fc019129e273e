-- Airflow's own tables and the guard's store live apart: a lost Airflow loses no record.
CREATE DATABASE airflow;
CREATE DATABASE guard;
