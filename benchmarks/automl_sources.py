"""The tables of the AutoML comparison as they are made: one SELECT or one of scikit-learn's loaders each.

Only what is known at the moment of asking is a column; what is left out as a leak stands beside its SELECT.
The sources and their licences are those of ../shared/data/SOURCES.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from sklearn import datasets


def select(sql: str, folder: Path) -> pd.DataFrame:
    """The rows of a SELECT in which `@name` stands for the file `folder/name`; the same rows in the same order."""
    located = re.sub(r"@([\w/.]+)", lambda found: f"'{folder / found[1]}'", sql)
    with duckdb.connect(config={"threads": 1}) as connection:
        frame: pd.DataFrame = connection.sql(located).df()
    return frame


def _sklearn(load: Callable[..., Any], **options: Any) -> Callable[[Path], pd.DataFrame]:
    def make(_: Path) -> pd.DataFrame:
        bunch = load(as_frame=True, **options)
        frame: pd.DataFrame = bunch.data.copy()
        words = getattr(bunch, "target_names", None)
        frame["target"] = bunch.target if words is None else [str(words[place]) for place in bunch.target]
        return frame

    return make


def _shared(sql: str) -> Callable[[Path], pd.DataFrame]:
    return lambda folder: select(sql, folder)


PREGNANCY = """
    mager, nullif(fagecomb, 98) AS fagecomb, urf_diab, urf_chyper, dplural, pay, pwgt_r, m_ht_in, cig_0, cig_1, wic,
    nullif(precare, 15) AS precare, precare = 15 AS no_care, priorlive, priordead, priorterm"""
"""Known at an early visit."""

BIRTH = f"{PREGNANCY}, urf_phyper, urf_eclam, sex, combgest, dwgt_r, cig_2, cig_3, previs"
"""Known before birth; all of labour and after (route, breech, Apgar, admissions, transfers) is left out."""

BIRTH_WEIGHT = f"""
SELECT dbwt AS target, {BIRTH} FROM @birth_weight/natality_2014_100k.parquet
WHERE dbwt IS NOT NULL AND combgest BETWEEN 20 AND 45"""

LOW_BIRTH_WEIGHT = f"""
SELECT if(dbwt < 2500, 'yes', 'no') AS target, {PREGNANCY} FROM @birth_weight/natality_2014_100k.parquet
WHERE dbwt IS NOT NULL"""

DELIVERY_ROUTE = f"""
SELECT me_rout AS target, me_pres AS presentation, {BIRTH} FROM @birth_weight/natality_2014_100k.parquet
WHERE me_rout IS NOT NULL AND combgest BETWEEN 20 AND 45"""

HOSPITAL_BIRTHS = """
SELECT round("BWt(kg)" * 1000) AS target, "SEC" AS sec, "Age(years)" AS age, "Height(cm)" AS height_cm,
  "Bgroup" AS blood_group, "Parity" AS parity, "ANC" AS visits, "Iwt(kg)" AS first_kg, "FWt(kg)" AS last_kg,
  "IBP_sys" AS first_sys, "IBP_dias" AS first_dias, "FBP_sys" AS last_sys, "FBP_dias" AS last_dias,
  "IHb(gm%)" AS first_hb, "FHb(gm%)" AS last_hb, "BS(RBS)" AS sugar, upper("Term/Preterm") AS term,
  if("Sex" IN ('F', 'M'), "Sex", NULL) AS sex
FROM @birth_weight/cbwdb_assam_hospital.parquet WHERE "BWt(kg)" IS NOT NULL"""
"""Left out: LNH, the class of the target."""

CHEM_YIELD = "SELECT yield AS target, * EXCLUDE (yield) FROM @yield_rate/chem_process_yield.parquet"

STEEL_PLATES = """
SELECT CASE WHEN Pastry = 1 THEN 'pastry' WHEN Z_Scratch = 1 THEN 'z_scratch' WHEN K_Scatch = 1 THEN 'k_scratch'
  WHEN Stains = 1 THEN 'stains' WHEN Dirtiness = 1 THEN 'dirtiness' WHEN Bumps = 1 THEN 'bumps' ELSE 'other' END
  AS target,
  * EXCLUDE (Pastry, Z_Scratch, K_Scatch, Stains, Dirtiness, Bumps, Other_Faults, TypeOfSteel_A400)
FROM @yield_rate/steel_plates_faults.parquet"""

BANK_MARKETING = """
SELECT y AS target, nullif(pdays, 999) AS pdays, * EXCLUDE (y, pdays, duration)
FROM @customer_response/bank_additional_full.parquet"""
"""Left out: duration, known only after the call."""

DELIVERY_DAYS = """
WITH place AS (
  SELECT geolocation_zip_code_prefix AS zip, avg(geolocation_lat) AS lat, avg(geolocation_lng) AS lng
  FROM @lead_time/olist_geolocation.parquet GROUP BY ALL),
item AS (
  SELECT order_id, count(*) AS items, sum(price) AS price, sum(freight_value) AS freight,
    min(seller_id) AS seller_id, min(product_id) AS product_id, count(DISTINCT seller_id) AS sellers
  FROM @lead_time/olist_order_items.parquet GROUP BY order_id)
SELECT date_diff('minute', order_purchase_timestamp, order_delivered_customer_date) / 1440.0 AS target,
  date_diff('minute', order_purchase_timestamp, order_estimated_delivery_date) / 1440.0 AS promised_days,
  date_diff('day', DATE '2016-01-01', order_purchase_timestamp::DATE) AS day,
  hour(order_purchase_timestamp) AS hour, dayname(order_purchase_timestamp) AS weekday,
  month(order_purchase_timestamp) AS month, customer_state, seller_state, items, sellers, price, freight,
  product_category_name AS category, product_weight_g AS weight_g,
  product_length_cm * product_height_cm * product_width_cm AS volume_cm3,
  c.lat AS customer_lat, c.lng AS customer_lng, s.lat AS seller_lat, s.lng AS seller_lng,
  111.2 * sqrt((c.lat - s.lat) ** 2 + (cos(radians(c.lat)) * (c.lng - s.lng)) ** 2) AS distance_km
FROM @lead_time/olist_orders.parquet AS o
LEFT JOIN item USING (order_id)
LEFT JOIN @lead_time/olist_customers.parquet USING (customer_id)
LEFT JOIN @lead_time/olist_sellers.parquet USING (seller_id)
LEFT JOIN @lead_time/olist_products.parquet USING (product_id)
LEFT JOIN place AS c ON c.zip = customer_zip_code_prefix
LEFT JOIN place AS s ON s.zip = seller_zip_code_prefix
WHERE order_delivered_customer_date IS NOT NULL ORDER BY o.order_id"""
"""Left out: approval, carrier date and reviews, which are known after the order."""

ORANGE_JUICE = """
WITH w AS (
  SELECT *, lag(logmove) OVER own AS last_log, week - lag(week) OVER own AS weeks_since,
    avg(logmove) OVER (PARTITION BY store, brand ORDER BY week ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING) AS mean4_log
  FROM @hit_product/dominicks_oj_weekly.parquet WINDOW own AS (PARTITION BY store, brand ORDER BY week))
SELECT logmove AS target, last_log, weeks_since, mean4_log, w.store::VARCHAR AS store, brand::VARCHAR AS brand, week,
  deal, feat, list_extract([price1, price2, price3, price4, price5, price6, price7, price8, price9, price10, price11],
  brand) AS own_price, price1, price2, price3, price4, price5, price6, price7, price8, price9, price10, price11,
  s.* EXCLUDE (STORE)
FROM w JOIN @hit_product/dominicks_oj_stores.parquet AS s ON s.STORE = w.store ORDER BY w.store, w.brand, week"""
"""Sales of earlier weeks only. Left out: profit, known after the week."""

WALMART_SALES = """
WITH w AS (
  SELECT *, lag(Weekly_Sales) OVER own AS last_usd,
    avg(Weekly_Sales) OVER (PARTITION BY Store, Dept ORDER BY Date ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING)
    AS mean4_usd
  FROM @demand/walmart_weekly_sales.parquet WINDOW own AS (PARTITION BY Store, Dept ORDER BY Date))
SELECT w.Weekly_Sales AS target, w.last_usd, w.mean4_usd, y.Weekly_Sales AS year_ago_usd,
  w.Store::VARCHAR AS store, w.Dept::VARCHAR AS dept, s.Type AS type, s.Size AS size, w.IsHoliday AS holiday,
  week(w.Date) AS week, date_diff('day', DATE '2010-02-05', w.Date) AS day,
  f.* EXCLUDE (Store, Date, IsHoliday)
FROM w JOIN @demand/walmart_stores.parquet AS s ON s.Store = w.Store
JOIN @demand/walmart_features.parquet AS f ON f.Store = w.Store AND f.Date = w.Date
LEFT JOIN @demand/walmart_weekly_sales.parquet AS y
  ON y.Store = w.Store AND y.Dept = w.Dept AND y.Date = w.Date - INTERVAL 364 DAY
WHERE w.Date >= DATE '2011-02-04' ORDER BY w.Store, w.Dept, w.Date"""
"""Sales of earlier weeks only, in the second and third year."""

BANK_CALLS = """
WITH half AS (
  SELECT time_bucket(INTERVAL 30 MINUTE, DateTime) AS moment, sum(Calls) AS calls
  FROM @staffing/bank_calls_5min.parquet WHERE hour(DateTime) < 21 GROUP BY moment),
h AS (
  SELECT *, moment::TIME AS slot, lag(calls) OVER own AS day_ago,
    avg(calls) OVER (PARTITION BY moment::TIME ORDER BY moment ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING) AS mean5_days
  FROM half WINDOW own AS (PARTITION BY moment::TIME ORDER BY moment))
SELECT h.calls AS target, h.day_ago, h.mean5_days, y.calls AS week_ago, dayname(h.moment) AS weekday,
  hour(h.moment) + minute(h.moment) / 60.0 AS hour, day(h.moment) AS day_of_month, month(h.moment) AS month,
  date_diff('day', DATE '2003-03-03', h.moment::DATE) AS day
FROM h LEFT JOIN half AS y ON y.moment = h.moment - INTERVAL 7 DAY ORDER BY h.moment"""
"""Calls of earlier days only."""

DEPARTMENTS = """
WITH sold AS (
  SELECT product_id, count(*) AS lines, sum(quantity) / count(*) AS units_a_line,
    sum(sales_value) / nullif(sum(quantity), 0) AS unit_usd, sum(retail_disc) / nullif(sum(sales_value), 0) AS discount,
    avg(hour(transaction_timestamp)) AS hour, avg((dayofweek(transaction_timestamp) IN (0, 6))::INT) AS weekend,
    count(DISTINCT household_id) AS households, avg(week) AS week
  FROM @hit_product/completejourney_transactions_sample.parquet GROUP BY product_id),
p AS (
  SELECT *, count(*) OVER (PARTITION BY department) AS size
  FROM sold JOIN @hit_product/completejourney_products.parquet USING (product_id))
SELECT if(size >= 200, lower(department), 'any other') AS target, manufacturer_id AS manufacturer, brand,
  try_cast(regexp_extract(package_size, '[0-9.]+') AS DOUBLE) AS package,
  nullif(regexp_extract(package_size, '[A-Z]+'), '') AS package_unit,
  lines, units_a_line, unit_usd, discount, hour, weekend, households, week
FROM p ORDER BY product_id"""
"""Left out: category and type of the product, which lie inside a department."""

MAKERS: dict[str, tuple[str, str, Callable[[Path], pd.DataFrame]]] = {
    "diabetes": ("regression", "rmse", _sklearn(datasets.load_diabetes, scaled=False)),
    "chem_yield": ("regression", "rmse", _shared(CHEM_YIELD)),
    "birth_weight": ("regression", "rmse", _shared(BIRTH_WEIGHT)),
    "orange_juice": ("regression", "rmse", _shared(ORANGE_JUICE)),
    "hospital_births": ("regression", "mae", _shared(HOSPITAL_BIRTHS)),
    "delivery_days": ("regression", "mae", _shared(DELIVERY_DAYS)),
    "bank_calls": ("regression", "mae", _shared(BANK_CALLS)),
    "walmart_sales": ("regression", "mae", _shared(WALMART_SALES)),
    "breast_cancer": ("binary", "log_loss", _sklearn(datasets.load_breast_cancer)),
    "bank_marketing": ("binary", "auc", _shared(BANK_MARKETING)),
    "low_birth_weight": ("binary", "auc", _shared(LOW_BIRTH_WEIGHT)),
    "wine": ("multiclass", "log_loss", _sklearn(datasets.load_wine)),
    "digits": ("multiclass", "log_loss", _sklearn(datasets.load_digits)),
    "steel_plates": ("multiclass", "log_loss", _shared(STEEL_PLATES)),
    "delivery_route": ("multiclass", "log_loss", _shared(DELIVERY_ROUTE)),
    "departments": ("multiclass", "log_loss", _shared(DEPARTMENTS)),
}
"""Table -> kind, metric and how it is made; its column `target` is what is asked."""

POSITIVE = {"breast_cancer": "malignant", "bank_marketing": "yes", "low_birth_weight": "yes"}
"""The class that a binary table asks for."""

BUNDLED = ("diabetes", "breast_cancer", "wine", "digits")
"""Tables that come with scikit-learn and need no folder."""
